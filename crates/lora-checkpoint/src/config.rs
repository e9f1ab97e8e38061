//! The shape of a decoder, checked for sense: all that a route, a file format or a plan needs to know of a model.
//! Where it comes from (config.json, GGUF metadata) lives elsewhere.
use crate::Projection;
use crate::Rope;
use crate::families::{DeltaShape, Experts, Facts, Family, HeadNorms, Mixer, Norm};

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
    /// Scores are divided by its root, unless `multipliers` name their own; the width of a head unless the family names
    /// another number.
    pub query_pre_attn_scalar: f64,
    /// Factors beside the matrices.
    pub multipliers: Multipliers,
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
    /// BOS id.
    pub bos_token_id: Option<u32>,
    /// Ids that end a generation (config and generation_config together).
    pub eos_token_ids: Vec<u32>,
    /// Padding id.
    pub pad_token_id: Option<u32>,
}

/// What is a layer's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    /// Keys that a query sees, itself included: those with i − j < window. None: all before it.
    pub window: Option<usize>,
    /// Place of its rotary embedding in [`ModelConfig::ropes`]. None: positions are not encoded.
    pub rope: Option<usize>,
    /// Whether experts stand in the place of its MLP.
    pub experts: bool,
    /// What mixes its tokens.
    pub mixer: Mixer,
}

/// Which linear layers have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Biases {
    /// q, k and v.
    pub qkv: bool,
    /// Attention output.
    pub output: bool,
    /// gate, up and down.
    pub mlp: bool,
}

impl Biases {
    /// Biases everywhere.
    pub(crate) const ALL: Self = Self {
        qkv: true,
        output: true,
        mlp: true,
    };
}

/// Factors beside the matrices, where a family has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multipliers {
    /// Embeddings are multiplied by it.
    pub embedding: f64,
    /// Scores are multiplied by it; none: divided by √`query_pre_attn_scalar`.
    pub attention: Option<f64>,
    /// The outputs of attention and MLP are multiplied by it before they are added to the hidden state.
    pub residual: f64,
    /// Logits are divided by it.
    pub logits: f64,
}

impl Default for Multipliers {
    fn default() -> Self {
        Self {
            embedding: 1.0,
            attention: None,
            residual: 1.0,
            logits: 1.0,
        }
    }
}

/// Largest dimension of any weight: far above every real model, small enough that products of two fit 64 bits.
const MAX_DIMENSION: usize = 1 << 28;
/// Largest number of experts in a layer.
const MAX_EXPERTS: usize = 4096;
/// Most taps of a convolution.
const MAX_TAPS: usize = 64;
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
        let own = self.multipliers.attention;
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

    /// Place of the rotary embedding of a layer's queries in [`ModelConfig::ropes`]; that of its keys is the layer's own.
    #[must_use]
    pub fn query_rope(&self, layer: usize) -> Option<usize> {
        let grows = usize::from(self.facts().json.query_growth);
        self.layers[layer].rope.map(|of_keys| of_keys + grows)
    }

    /// (out, in) features of a projection.
    #[must_use]
    pub fn shape(&self, projection: Projection) -> (usize, usize) {
        let (hidden, mlp) = (self.hidden_size, self.intermediate_size);
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let delta = |of: fn(DeltaShape) -> usize| self.delta.map_or(0, of);
        match projection {
            Projection::Q | Projection::OutputGate => (queries, hidden),
            Projection::QGate => (2 * queries, hidden),
            Projection::K | Projection::V => (keys, hidden),
            Projection::O => (hidden, queries),
            Projection::Gate | Projection::Up => (mlp, hidden),
            Projection::Down => (hidden, mlp),
            Projection::Qkv => (queries + 2 * keys, hidden),
            Projection::GateUp => (2 * mlp, hidden),
            Projection::DeltaQkv => (delta(DeltaShape::columns), hidden),
            Projection::DeltaZ => (delta(DeltaShape::values), hidden),
            Projection::DeltaB | Projection::DeltaA => (delta(|d| d.value_heads), hidden),
            Projection::DeltaOut => (hidden, delta(DeltaShape::values)),
        }
    }

    /// Whether a projection has a bias.
    #[must_use]
    pub const fn has_bias(&self, projection: Projection) -> bool {
        match projection {
            Projection::Q
            | Projection::K
            | Projection::V
            | Projection::Qkv
            | Projection::QGate
            | Projection::OutputGate => self.biases.qkv,
            Projection::O => self.biases.output,
            Projection::Gate | Projection::Up | Projection::Down | Projection::GateUp => {
                self.biases.mlp
            }
            Projection::DeltaQkv
            | Projection::DeltaZ
            | Projection::DeltaB
            | Projection::DeltaA
            | Projection::DeltaOut => false,
        }
    }

    /// The linear layers that any decoder layer has, each once.
    pub fn projections(&self) -> impl Iterator<Item = Projection> + use<> {
        let attention = self.facts().projections;
        let recurrent = self
            .facts()
            .recurrent
            .as_ref()
            .map_or(&[][..], |r| r.projections);
        let others = recurrent.iter().filter(|p| !attention.contains(p));
        attention.iter().chain(others).copied()
    }

    /// The linear layers of a decoder layer that are no expert's, in the order of the forward pass.
    #[must_use]
    pub fn projections_of(&self, layer: usize) -> &'static [Projection] {
        let all = match (self.layers[layer].mixer, &self.facts().recurrent) {
            (Mixer::Delta, Some(recurrent)) => recurrent.projections,
            _ => self.facts().projections,
        };
        match self.experts_of(layer) {
            None => all,
            Some(_) => {
                let of_mixer = all.iter().take_while(|p| !p.is_of_mlp()).count();
                &all[..of_mixer]
            }
        }
    }

    /// Whether some layer keeps a state: a sequence can't begin with rows of another then.
    #[must_use]
    pub fn is_recurrent(&self) -> bool {
        self.layers.iter().any(|layer| layer.mixer == Mixer::Delta)
    }

    /// The experts of a layer.
    #[must_use]
    pub fn experts_of(&self, layer: usize) -> Option<Experts> {
        self.experts.filter(|_| self.layers[layer].experts)
    }

    /// MLP width that a token meets in a layer: that of all experts which are chosen for it, or of the one MLP.
    #[must_use]
    pub fn mlp_width(&self, layer: usize) -> usize {
        match self.experts_of(layer) {
            Some(experts) => experts.chosen * experts.width,
            None => self.intermediate_size,
        }
    }

    /// (out, in) features of a projection of an expert.
    #[must_use]
    pub fn expert_shape(&self, experts: Experts, projection: Projection) -> (usize, usize) {
        match projection {
            Projection::Down => (self.hidden_size, experts.width),
            _ => (experts.width, self.hidden_size),
        }
    }

    /// Name of a linear layer without `.weight`, e.g. `model.layers.3.mlp.up_proj`.
    #[must_use]
    pub fn path(&self, projection: Projection, layer: usize) -> String {
        format!("model.layers.{layer}.{}", self.facts().path(projection))
    }

    /// Name of a layer's norm without `.weight`, if it has it.
    #[must_use]
    pub fn norm_path(&self, layer: usize, norm: Norm) -> Option<String> {
        let of_heads = matches!(norm, Norm::Query | Norm::Key);
        if of_heads && self.layers[layer].mixer == Mixer::Delta {
            return None;
        }
        Some(format!("model.layers.{layer}.{}", self.facts().norm(norm)?))
    }

    /// Width of a norm of a layer, that of its weight.
    #[must_use]
    pub fn norm_width(&self, norm: Norm) -> usize {
        let projection = match norm {
            Norm::Query => Projection::Q,
            Norm::Key => Projection::K,
            _ => return self.hidden_size,
        };
        match self.facts().head_norms {
            HeadNorms::EachHead | HeadNorms::EachRotatedHead => self.head_dim,
            HeadNorms::AllHeads => self.shape(projection).0,
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
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if heads.saturating_mul(self.head_dim) > MAX_DIMENSION {
            return Err(format!(
                "num_attention_heads {heads} times head_dim {} is absurdly large",
                self.head_dim
            ));
        }
        if heads % kv_heads != 0 {
            return Err(format!(
                "num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
            ));
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
        self.validate_reals()
    }

    fn validate_experts(&self) -> Result<(), String> {
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
        Ok(())
    }

    fn validate_recurrent(&self) -> Result<(), String> {
        let Some(delta) = self.delta else {
            return match self.is_recurrent() {
                true => Err("recurrent layers without heads".to_owned()),
                false => Ok(()),
            };
        };
        for (key, size) in delta.named() {
            if size == 0 || size > MAX_DIMENSION {
                return Err(format!("{key} is {size}, expected 1 to {MAX_DIMENSION}"));
            }
        }
        let widths = [
            delta.key_heads.saturating_mul(delta.key_dim),
            delta.value_heads.saturating_mul(delta.value_dim),
        ];
        if widths.iter().any(|&width| width > MAX_DIMENSION / 4) || delta.taps > MAX_TAPS {
            return Err(format!(
                "linear attention with heads of {} and {} columns and {} taps is absurdly large",
                widths[0], widths[1], delta.taps
            ));
        }
        if !delta.value_heads.is_multiple_of(delta.key_heads) {
            return Err(format!(
                "linear_num_value_heads {} is not a multiple of linear_num_key_heads {}",
                delta.value_heads, delta.key_heads
            ));
        }
        // A text that is read again from its begin would need the states of its begin.
        let changes = |rope: &Rope| rope.changes_beyond().is_some();
        if self.is_recurrent() && self.ropes.iter().any(changes) {
            return Err(
                "a rotary embedding that depends on the length (dynamic, longrope) is not supported beside linear_attention layers"
                    .to_owned(),
            );
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
        for (key, value) in positive {
            if value.is_some_and(|x| !(x.is_finite() && x > 0.0)) {
                return Err(format!(
                    "{key} is {}, expected a positive number",
                    value.unwrap_or_default()
                ));
            }
        }
        for rope in &self.ropes {
            let fits = rope.dim.next_multiple_of(2) <= self.head_dim;
            if rope.dim == self.head_dim && !fits {
                return Err(format!(
                    "head_dim {} is odd, rotary embedding needs pairs",
                    self.head_dim
                ));
            }
            if rope.dim == 0 || !fits {
                return Err(format!(
                    "{} features of a head are rotated, expected 1 to {}",
                    rope.dim, self.head_dim
                ));
            }
            rope.validate()?;
            if rope.growth.is_some() && rope.dim != self.head_dim {
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
