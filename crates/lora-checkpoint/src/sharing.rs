//! Layers that read keys and values of earlier ones in the place of their own.
use crate::ModelConfig;

impl ModelConfig {
    /// The first of the layers that read keys and values of earlier ones; the number of layers where none does.
    #[must_use]
    pub fn first_sharing(&self) -> usize {
        self.num_hidden_layers.saturating_sub(self.variants.sharing)
    }

    /// The layer whose keys and values a layer reads in the place of its own: the last of its kind before all that do so.
    #[must_use]
    pub fn keys_of(&self, layer: usize) -> Option<usize> {
        let first = self.first_sharing();
        let slides = |layer: usize| self.layers[layer].window.is_some();
        match layer < first {
            true => None,
            false => (0..first).rev().find(|&own| slides(own) == slides(layer)),
        }
    }

    /// Whether others read a layer's keys and values.
    #[must_use]
    pub fn shares_keys(&self, layer: usize) -> bool {
        let first = self.first_sharing();
        layer < first && (first..self.num_hidden_layers).any(|l| self.keys_of(l) == Some(layer))
    }

    /// Weights that transformers does not read, though files may hold them: keys and values of layers that read others'.
    pub(crate) fn is_left_unread(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix("model.layers.") else {
            return false;
        };
        let Some((layer, own)) = rest.split_once('.') else {
            return false;
        };
        let sharing = self.first_sharing()..self.num_hidden_layers;
        let is_sharing = layer.parse().is_ok_and(|layer| sharing.contains(&layer));
        let keys = ["k_proj.", "v_proj.", "k_norm.", "v_norm."];
        let own = own.strip_prefix("self_attn.");
        is_sharing && own.is_some_and(|own| keys.iter().any(|key| own.starts_with(key)))
    }

    /// Whether the layers that read earlier keys and values find some.
    pub(crate) fn validate_variants(&self) -> Result<(), String> {
        let sharing = self.variants.sharing;
        if sharing >= self.num_hidden_layers && sharing > 0 {
            return Err(format!(
                "num_kv_shared_layers is {sharing}, expected less than num_hidden_layers {}",
                self.num_hidden_layers
            ));
        }
        let finds = |layer: usize| self.keys_of(layer).is_some();
        if let Some(layer) = (self.first_sharing()..self.num_hidden_layers).find(|&l| !finds(l)) {
            return Err(format!(
                "layer {layer} reads keys and values of an earlier layer of its kind (num_kv_shared_layers {sharing}), and there \
                 is none"
            ));
        }
        match self.per_layer() {
            Some(own) if own.vocabulary < self.vocab_size => Err(format!(
                "vocab_size_per_layer_input {} is less than vocab_size {}",
                own.vocabulary, self.vocab_size
            )),
            _ => Ok(()),
        }
    }
}
