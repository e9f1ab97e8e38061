//! The linear layers of a decoder layer, its MLP and its experts: an MLP, experts in its place, or both side by side.
use crate::config::MAX_DIMENSION;
use crate::families::{Experts, Mixer, SCALE, Shared};
use crate::{ModelConfig, Projection};

/// Largest number of experts in a layer.
const MAX_EXPERTS: usize = 4096;

impl ModelConfig {
    /// The linear layers that any decoder layer has, each once.
    pub fn projections(&self) -> impl Iterator<Item = Projection> + use<> {
        let mut all: Vec<Projection> = Vec::new();
        for layer in 0..self.num_hidden_layers {
            for projection in self.with_experts_as_one(layer) {
                if !all.contains(&projection) {
                    all.push(projection);
                }
            }
        }
        all.into_iter()
    }

    /// The linear layers of a decoder layer that are no expert's, in the order of the forward pass.
    #[must_use]
    pub fn projections_of(&self, layer: usize) -> Vec<Projection> {
        let mut all = self.with_experts_as_one(layer);
        if !self.has_mlp(layer) {
            all.retain(|projection| !projection.is_of_mlp());
        }
        all
    }

    /// The same; a layer with experts has the MLP that it would have without.
    fn with_experts_as_one(&self, layer: usize) -> Vec<Projection> {
        let usual = match (self.layers[layer].mixer, &self.facts().recurrent) {
            (Mixer::Attention, _) | (_, None) => self.facts().projections,
            (_, Some(recurrent)) => recurrent.projections,
        };
        let shares = self.keys_of(layer).is_some();
        let has = |projection: Projection| match projection {
            Projection::K => !shares,
            Projection::V => !shares && !self.values_are_keys(layer),
            _ => true,
        };
        let mut all: Vec<Projection> = usual.iter().copied().filter(|&p| has(p)).collect();
        if self.per_layer().is_some() {
            if layer == 0 {
                all.insert(0, Projection::PerLayerModel);
            }
            all.extend([Projection::PerLayerGate, Projection::PerLayerOut]);
        }
        all
    }

    /// The experts of a layer.
    #[must_use]
    pub fn experts_of(&self, layer: usize) -> Option<Experts> {
        self.experts.filter(|_| self.layers[layer].experts)
    }

    /// How many first layers have no experts.
    #[must_use]
    pub fn dense_layers(&self) -> usize {
        let mut layers = self.layers.iter();
        let first = layers.position(|layer| layer.experts);
        first.unwrap_or(self.num_hidden_layers)
    }

    /// Name of the numbers of a layer's experts that count for the choice alone, if it has such.
    #[must_use]
    pub fn choice_bias(&self, layer: usize) -> Option<String> {
        let own = self.facts().experts?.choice_bias?;
        let has = self.experts_of(layer)?.choice_bias;
        has.then(|| format!("model.layers.{layer}.{own}"))
    }

    /// Whether a layer has an MLP that every token goes through: alone, or beside experts.
    #[must_use]
    pub fn has_mlp(&self, layer: usize) -> bool {
        let experts = self.experts_of(layer);
        experts.is_none_or(|own| own.shared.is_some())
    }

    /// Width of that MLP; 0 where experts stand in its place.
    #[must_use]
    pub fn mlp_width(&self, layer: usize) -> usize {
        if let Some(experts) = self.experts_of(layer) {
            return experts.shared.unwrap_or(0);
        }
        let is_wide = self.variants.double_wide && layer >= self.first_sharing();
        self.intermediate_size * (1 + usize::from(is_wide))
    }

    /// Width of all experts that are chosen for a token in a layer; 0 where it has none.
    #[must_use]
    pub fn experts_width(&self, layer: usize) -> usize {
        let experts = self.experts_of(layer);
        experts.map_or(0, |own| own.chosen * own.width)
    }

    /// (out, in) features of a projection of an expert.
    #[must_use]
    pub fn expert_shape(&self, experts: Experts, projection: Projection) -> (usize, usize) {
        match projection {
            Projection::Down => (self.hidden_size, experts.width),
            _ => (experts.width, self.hidden_size),
        }
    }

    /// Whether there are experts in a sensible number, of sensible widths.
    pub(crate) fn validate_experts(&self) -> Result<(), String> {
        let (Some(experts), Some(facts)) = (self.experts, self.facts().experts) else {
            return Ok(());
        };
        let sizes = [
            (facts.count.0[0], experts.count, MAX_EXPERTS),
            ("num_experts_per_tok", experts.chosen, experts.count),
            (facts.width.0, experts.width, MAX_DIMENSION),
        ];
        for (key, size, most) in sizes {
            if size == 0 || size > most {
                return Err(format!("{key} is {size}, expected 1 to {most}"));
            }
        }
        let shared = experts.shared.zip(facts.shared);
        if let Some((
            width,
            Shared {
                width: (key, _), ..
            },
        )) = shared
            && (width == 0 || width > MAX_DIMENSION)
        {
            return Err(format!("{key} is {width}, expected 1 to {MAX_DIMENSION}"));
        }
        if !(experts.scale.is_finite() && experts.scale > 0.0) {
            let scale = experts.scale;
            return Err(format!("{SCALE} is {scale}, expected a positive number"));
        }
        let clamp = experts.clamp.map(|own| [own.alpha, own.limit]);
        for (key, x) in ["swiglu_alpha", "swiglu_limit"]
            .iter()
            .zip(clamp.into_iter().flatten())
        {
            if !(x.is_finite() && x > 0.0) {
                return Err(format!("{key} is {x}, expected a positive number"));
            }
        }
        Ok(())
    }
}
