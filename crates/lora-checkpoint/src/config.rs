//! The shape of a decoder, checked for sense: all that a route, a file format or a plan needs to know of a model.
//! Where it comes from (config.json, GGUF metadata) lives elsewhere.
use crate::families::{DeltaShape, Experts, Facts, Family, MambaShape, ShortConv, Variants};
use crate::{Biases, Factors, LayerSpec, Multipliers, Rope};

/// A decoder's shape, from config.json or GGUF metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which family's layers it has.
    pub family: Family,
    /// V.
    pub vocab_size: usize,
    /// H.
    pub hidden_size: usize,
    /// MLP width.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads.
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// ε of the norms.
    pub norm_eps: f64,
    /// The rotary embeddings that layers refer to.
    pub ropes: Vec<Rope>,
    /// What differs from layer to layer, one entry a layer.
    pub layers: Vec<LayerSpec>,
    /// Heads of the recurrent layers, of a family that has such.
    pub delta: Option<DeltaShape>,
    /// The convolution of layers that have nothing else, of a family that has such.
    pub short_conv: Option<ShortConv>,
    /// Heads of the layers of Mamba-2, if there are such.
    pub mamba: Option<MambaShape>,
    /// Scores are divided by its root, unless `multipliers` name their own; the width of a head unless the family names
    /// another number.
    pub query_pre_attn_scalar: f64,
    /// Factors beside the matrices.
    pub multipliers: Multipliers,
    /// Factors around linear layers.
    pub factors: Factors,
    /// c of the soft cap c·tanh(score/c) on attention scores.
    pub attention_softcap: Option<f64>,
    /// The same on logits.
    pub logit_softcap: Option<f64>,
    /// Head shares the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Context length, tokens.
    pub max_position_embeddings: usize,
    /// Which linear layers have biases.
    pub biases: Biases,
    /// The experts of the layers that have some.
    pub experts: Option<Experts>,
    /// Coefficient of the loss for the balance of experts, where config.json asks for one (`output_router_logits`). It is of
    /// training, not of the model: files that differ in it hold the same.
    pub router_aux_loss: Option<f64>,
    /// Where attention layers differ beside that.
    pub variants: Variants,
    /// BOS id.
    pub bos_token_id: Option<u32>,
    /// Ids that end a generation (config and generation_config together).
    pub eos_token_ids: Vec<u32>,
    /// Padding id.
    pub pad_token_id: Option<u32>,
}

/// Largest dimension of any weight: far above every real model, small enough that products of two fit 64 bits.
pub(crate) const MAX_DIMENSION: usize = 1 << 28;
/// Largest number of layers.
pub(crate) const MAX_LAYERS: usize = 4096;

impl ModelConfig {
    /// What its family's models share.
    #[must_use]
    pub fn facts(&self) -> &'static Facts {
        self.family.facts()
    }

    /// What attention scores are multiplied by.
    #[must_use]
    pub fn attention_scale(&self) -> f64 {
        let own = self.facts().attention_scale.or(self.multipliers.attention);
        own.unwrap_or_else(|| 1.0 / self.query_pre_attn_scalar.sqrt())
    }

    /// What embeddings are multiplied by.
    #[must_use]
    pub fn embedding_scale(&self) -> f64 {
        if self.facts().scaled_embedding {
            (self.hidden_size as f64).sqrt()
        } else {
            self.multipliers.embedding
        }
    }

    /// Checks that the numbers make a decoder; the message names the key as config.json has it.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (key, size) in sizes {
            if size == 0 || size > MAX_DIMENSION {
                return Err(format!("{key} is {size}, expected 1 to {MAX_DIMENSION}"));
            }
        }
        check_layers(self.num_hidden_layers)?;
        let usual = (self.num_key_value_heads, self.head_dim);
        let full = self.variants.full.map(|own| (own.kv, own.width));
        for (kv_heads, width) in [usual].into_iter().chain(full) {
            self.validate_heads(kv_heads, width)?;
        }
        if self.layers.len() != self.num_hidden_layers {
            return Err(format!(
                "{} layers are described, expected {}",
                self.layers.len(),
                self.num_hidden_layers
            ));
        }
        self.validate_recurrent()?;
        if self.layers.iter().any(|l| l.window == Some(0)) {
            return Err("sliding_window is 0, expected at least 1".to_owned());
        }
        self.validate_experts()?;
        self.validate_variants()?;
        self.validate_sizes()?;
        self.validate_reals()?;
        self.validate_ropes()
    }

    fn validate_heads(&self, kv_heads: usize, width: usize) -> Result<(), String> {
        let heads = self.num_attention_heads;
        if heads.saturating_mul(width) > MAX_DIMENSION {
            return Err(format!(
                "num_attention_heads {heads} times head_dim {width} is absurdly large"
            ));
        }
        match kv_heads > 0 && heads.is_multiple_of(kv_heads) {
            true => Ok(()),
            false => Err(format!(
                "num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
            )),
        }
    }

    /// Sizes that are products.
    fn validate_sizes(&self) -> Result<(), String> {
        let own = self.variants.per_layer;
        let table = own.map_or(0, |own| own.width.saturating_mul(self.num_hidden_layers));
        let rows = own.map_or(0, |own| own.vocabulary);
        let wide = self.intermediate_size * (1 + usize::from(self.variants.double_wide));
        for (key, size) in [
            ("hidden_size_per_layer_input of all layers", table),
            ("vocab_size_per_layer_input", rows),
            ("the double intermediate_size", wide),
        ] {
            if size > MAX_DIMENSION {
                return Err(format!("{key} is {size}, expected at most {MAX_DIMENSION}"));
            }
        }
        Ok(())
    }

    fn validate_reals(&self) -> Result<(), String> {
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            let key = self.facts().json.norm_eps.0;
            return Err(format!(
                "{key} is {}, expected a number that is not negative",
                self.norm_eps
            ));
        }
        let positive = [
            ("query_pre_attn_scalar", Some(self.query_pre_attn_scalar)),
            ("embedding_multiplier", Some(self.multipliers.embedding)),
            ("attention_multiplier", self.multipliers.attention),
            ("residual_multiplier", Some(self.multipliers.residual)),
            ("logits_scaling", Some(self.multipliers.logits)),
            ("attn_logit_softcapping", self.attention_softcap),
            ("final_logit_softcapping", self.logit_softcap),
        ];
        let factors = self.factors.named();
        let factors = factors.iter().map(|&(key, factor)| (key, Some(factor)));
        for (key, value) in positive.into_iter().chain(factors) {
            if value.is_some_and(|x| !(x.is_finite() && x > 0.0)) {
                return Err(format!(
                    "{key} is {}, expected a positive number",
                    value.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }

    /// Rotary embeddings: the first is that of layers without a window, which may have heads of their own.
    fn validate_ropes(&self) -> Result<(), String> {
        for (index, rope) in self.ropes.iter().enumerate() {
            let full = self.variants.full.filter(|_| index == 0);
            let width = full.map_or(self.head_dim, |own| own.width);
            let fits = rope.dim.next_multiple_of(2) <= width;
            if rope.dim == width && !fits {
                return Err(format!(
                    "head_dim {width} is odd, rotary embedding needs pairs"
                ));
            }
            if rope.dim == 0 || !fits {
                return Err(format!(
                    "{} features of a head are rotated, expected 1 to {width}",
                    rope.dim
                ));
            }
            rope.validate()?;
            if rope.growth.is_some() && rope.dim != width {
                return Err("queries that grow need a rotary embedding of all features".to_owned());
            }
        }
        Ok(())
    }
}

/// Refuses absurd numbers of layers, before anything of their size is made.
pub(crate) fn check_layers(layers: usize) -> Result<(), String> {
    match layers {
        1..=MAX_LAYERS => Ok(()),
        _ => Err(format!(
            "num_hidden_layers is {layers}, expected 1 to {MAX_LAYERS}"
        )),
    }
}
