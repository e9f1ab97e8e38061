//! The shape of a decoder, checked for sense. Where it comes from (config.json, GGUF metadata) lives elsewhere.
use crate::Error;
use std::path::Path;

/// Rotary embedding scaling.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Plain rotary embedding.
    None,
    /// Llama 3's frequency-dependent scaling (transformers `_compute_llama3_parameters`).
    Llama3 {
        /// Context extension factor.
        factor: f64,
        /// Low frequency factor.
        low_freq_factor: f64,
        /// High frequency factor.
        high_freq_factor: f64,
        /// Context length of the original model, tokens.
        original_max_position_embeddings: usize,
    },
    /// Divisors of the inverse frequencies read from a GGUF `rope_freqs.weight` tensor, head_dim/2 values.
    Factors(Vec<f32>),
}

/// A decoder's shape, from config.json or GGUF metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `llama` so far.
    pub model_type: String,
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
    /// RMSNorm epsilon.
    pub rms_norm_eps: f64,
    /// Rotary base.
    pub rope_theta: f64,
    /// Rotary scaling.
    pub rope_scaling: RopeScaling,
    /// Head shares the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Context length, tokens.
    pub max_position_embeddings: usize,
    /// Biases on q, k, v, o.
    pub attention_bias: bool,
    /// Biases on gate, up, down.
    pub mlp_bias: bool,
    /// BOS id.
    pub bos_token_id: Option<u32>,
    /// Ids that end a generation (config and generation_config together).
    pub eos_token_ids: Vec<u32>,
    /// Padding id.
    pub pad_token_id: Option<u32>,
}

/// Largest dimension of any weight: far above every real model, small enough that products of two fit 64 bits.
const MAX_DIMENSION: usize = 1 << 28;
/// Largest number of layers.
const MAX_LAYERS: usize = 4096;

impl ModelConfig {
    /// Parses config.json as transformers 4 and 5 write it; refuses families and options that can't be honoured.
    /// `generation_config.json` beside it adds its EOS ids.
    pub fn from_json(path: &Path) -> Result<Self, Error> {
        crate::config_json::load(path)
    }

    /// The name and shape of every weight of this decoder, in the order of the forward pass.
    pub fn weights(&self) -> Vec<(String, Vec<usize>)> {
        let hidden = self.hidden_size;
        let mut weights = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let prefix = format!("model.layers.{layer}");
            weights.push((format!("{prefix}.input_layernorm.weight"), vec![hidden]));
            weights.push((format!("{prefix}.post_attention_layernorm.weight"), vec![hidden]));
            for (module, out, input) in self.layer_linears() {
                weights.push((format!("{prefix}.{module}.weight"), vec![out, input]));
                let bias = if module.starts_with("mlp") { self.mlp_bias } else { self.attention_bias };
                if bias {
                    weights.push((format!("{prefix}.{module}.bias"), vec![out]));
                }
            }
        }
        weights.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            weights.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        weights
    }

    /// The linear modules of one layer with their (out, in).
    fn layer_linears(&self) -> [(&'static str, usize, usize); 7] {
        let (hidden, mlp) = (self.hidden_size, self.intermediate_size);
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        [
            ("self_attn.q_proj", queries, hidden),
            ("self_attn.k_proj", keys, hidden),
            ("self_attn.v_proj", keys, hidden),
            ("self_attn.o_proj", hidden, queries),
            ("mlp.gate_proj", mlp, hidden),
            ("mlp.up_proj", mlp, hidden),
            ("mlp.down_proj", hidden, mlp),
        ]
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
        if self.num_hidden_layers == 0 || self.num_hidden_layers > MAX_LAYERS {
            return Err(format!("num_hidden_layers is {}, expected 1 to {MAX_LAYERS}", self.num_hidden_layers));
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if heads.saturating_mul(self.head_dim) > MAX_DIMENSION {
            return Err(format!("num_attention_heads {heads} times head_dim {} is absurdly large", self.head_dim));
        }
        if heads % kv_heads != 0 {
            return Err(format!("num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"));
        }
        if !self.hidden_size.is_multiple_of(heads) {
            return Err(format!("hidden_size {} is not a multiple of num_attention_heads {heads}", self.hidden_size));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim {} is odd, rotary embedding needs pairs", self.head_dim));
        }
        self.validate_reals()
    }

    fn validate_reals(&self) -> Result<(), String> {
        let positive = |key: &str, x: f64| match x.is_finite() && x > 0.0 {
            true => Ok(()),
            false => Err(format!("{key} is {x}, expected a positive number")),
        };
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(format!("rms_norm_eps is {}, expected a number that is not negative", self.rms_norm_eps));
        }
        positive("rope_theta", self.rope_theta)?;
        match &self.rope_scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                positive("rope factor", *factor)?;
                positive("rope low_freq_factor", *low_freq_factor)?;
                positive("rope high_freq_factor", *high_freq_factor)?;
                if high_freq_factor <= low_freq_factor {
                    return Err(format!(
                        "rope high_freq_factor {high_freq_factor} is not above low_freq_factor {low_freq_factor}"
                    ));
                }
                positive("rope original_max_position_embeddings", *original_max_position_embeddings as f64)
            }
            RopeScaling::Factors(factors) => {
                if factors.len() != self.head_dim / 2 {
                    return Err(format!(
                        "rope_freqs has {} values, expected head_dim/2 = {}",
                        factors.len(),
                        self.head_dim / 2
                    ));
                }
                factors.iter().try_for_each(|&f| positive("rope_freqs value", f64::from(f)))
            }
        }
    }
}
