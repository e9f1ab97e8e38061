//! What a family's decoder is made of: the names and shapes of its weights. One family so far: Llama.
use lora_checkpoint::ModelConfig;
use lora_core::LinearModule;

/// The seven projections of a layer, in the order in which a layer uses them.
pub const PROJECTIONS: [Projection; 7] =
    [Projection::Q, Projection::K, Projection::V, Projection::O, Projection::Gate, Projection::Up, Projection::Down];

/// A projection of a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention output.
    O,
    /// Gate of the MLP.
    Gate,
    /// Up projection of the MLP.
    Up,
    /// Down projection of the MLP.
    Down,
}

impl Projection {
    /// Its place in [`PROJECTIONS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Module path inside a layer.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// Module path in the model, e.g. `model.layers.3.mlp.up_proj`.
    #[must_use]
    pub fn path(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}", self.name())
    }

    /// (out, in) features.
    #[must_use]
    pub const fn shape(self, config: &ModelConfig) -> (usize, usize) {
        let (h, i) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
        match self {
            Self::Q => (q, h),
            Self::K | Self::V => (kv, h),
            Self::O => (h, q),
            Self::Gate | Self::Up => (i, h),
            Self::Down => (h, i),
        }
    }

    /// Whether the config gives it a bias.
    #[must_use]
    pub const fn has_bias(self, config: &ModelConfig) -> bool {
        match self {
            Self::Q | Self::K | Self::V | Self::O => config.attention_bias,
            Self::Gate | Self::Up | Self::Down => config.mlp_bias,
        }
    }
}

/// All linear modules in model order: the projections layer by layer, then the head.
#[must_use]
pub fn linear_modules(config: &ModelConfig) -> Vec<LinearModule> {
    let mut modules = Vec::with_capacity(config.num_hidden_layers * PROJECTIONS.len() + 1);
    for layer in 0..config.num_hidden_layers {
        for projection in PROJECTIONS {
            let (out_features, in_features) = projection.shape(config);
            modules.push(LinearModule { path: projection.path(layer), in_features, out_features, is_head: false });
        }
    }
    let (in_features, out_features) = (config.hidden_size, config.vocab_size);
    modules.push(LinearModule { path: "lm_head".into(), in_features, out_features, is_head: true });
    modules
}

/// Name and shape of every weight a checkpoint of this config must hold, in model order. A tied head is not among them.
#[must_use]
pub fn weights(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (v, h) = (config.vocab_size, config.hidden_size);
    let mut weights = vec![("model.embed_tokens.weight".to_string(), vec![v, h])];
    for layer in 0..config.num_hidden_layers {
        weights.push((format!("model.layers.{layer}.input_layernorm.weight"), vec![h]));
        for projection in PROJECTIONS {
            if projection == Projection::Gate {
                weights.push((format!("model.layers.{layer}.post_attention_layernorm.weight"), vec![h]));
            }
            let (out, inn) = projection.shape(config);
            weights.push((format!("{}.weight", projection.path(layer)), vec![out, inn]));
            if projection.has_bias(config) {
                weights.push((format!("{}.bias", projection.path(layer)), vec![out]));
            }
        }
    }
    weights.push(("model.norm.weight".into(), vec![h]));
    if !config.tie_word_embeddings {
        weights.push(("lm_head.weight".into(), vec![v, h]));
    }
    weights
}
