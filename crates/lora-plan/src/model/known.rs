//! Shapes of well-known models, so that a plan needs no download. All are of the Llama family.
use lora_checkpoint::{Biases, Family, LayerSpec, ModelConfig, Rope, RopeScaling};

/// The shape of a published model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Name on the command line.
    pub name: &'static str,
    /// V.
    pub vocabulary: usize,
    /// H.
    pub hidden: usize,
    /// MLP width.
    pub intermediate: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head: usize,
    /// Head shares the embedding matrix.
    pub tied: bool,
}

/// The models known by name, from their published config.json.
#[rustfmt::skip]
pub const KNOWN: [Known; 15] = [
    Known { name: "llama-2-7b",     vocabulary: 32_000,  hidden: 4096,   intermediate: 11_008, layers: 32,  heads: 32,  kv_heads: 32, head: 128, tied: false },
    Known { name: "llama-2-13b",    vocabulary: 32_000,  hidden: 5120,   intermediate: 13_824, layers: 40,  heads: 40,  kv_heads: 40, head: 128, tied: false },
    Known { name: "llama-2-70b",    vocabulary: 32_000,  hidden: 8192,   intermediate: 28_672, layers: 80,  heads: 64,  kv_heads: 8,  head: 128, tied: false },
    Known { name: "llama-3-8b",     vocabulary: 128_256, hidden: 4096,   intermediate: 14_336, layers: 32,  heads: 32,  kv_heads: 8,  head: 128, tied: false },
    Known { name: "llama-3-70b",    vocabulary: 128_256, hidden: 8192,   intermediate: 28_672, layers: 80,  heads: 64,  kv_heads: 8,  head: 128, tied: false },
    Known { name: "llama-3.1-8b",   vocabulary: 128_256, hidden: 4096,   intermediate: 14_336, layers: 32,  heads: 32,  kv_heads: 8,  head: 128, tied: false },
    Known { name: "llama-3.1-70b",  vocabulary: 128_256, hidden: 8192,   intermediate: 28_672, layers: 80,  heads: 64,  kv_heads: 8,  head: 128, tied: false },
    Known { name: "llama-3.1-405b", vocabulary: 128_256, hidden: 16_384, intermediate: 53_248, layers: 126, heads: 128, kv_heads: 8,  head: 128, tied: false },
    Known { name: "llama-3.2-1b",   vocabulary: 128_256, hidden: 2048,   intermediate: 8192,   layers: 16,  heads: 32,  kv_heads: 8,  head: 64,  tied: true },
    Known { name: "llama-3.2-3b",   vocabulary: 128_256, hidden: 3072,   intermediate: 8192,   layers: 28,  heads: 24,  kv_heads: 8,  head: 128, tied: true },
    Known { name: "llama-3.3-70b",  vocabulary: 128_256, hidden: 8192,   intermediate: 28_672, layers: 80,  heads: 64,  kv_heads: 8,  head: 128, tied: false },
    Known { name: "smollm2-135m",   vocabulary: 49_152,  hidden: 576,    intermediate: 1536,   layers: 30,  heads: 9,   kv_heads: 3,  head: 64,  tied: true },
    Known { name: "smollm2-360m",   vocabulary: 49_152,  hidden: 960,    intermediate: 2560,   layers: 32,  heads: 15,  kv_heads: 5,  head: 64,  tied: true },
    Known { name: "smollm2-1.7b",   vocabulary: 49_152,  hidden: 2048,   intermediate: 8192,   layers: 24,  heads: 32,  kv_heads: 32, head: 64,  tied: true },
    Known { name: "tinyllama-1.1b", vocabulary: 32_000,  hidden: 2048,   intermediate: 5632,   layers: 22,  heads: 32,  kv_heads: 4,  head: 64,  tied: false },
];

impl Known {
    /// The model of a name, in any case; `-instruct`, `-chat` and the like change no shape.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        KNOWN
            .into_iter()
            .find(|k| name == k.name || name.strip_prefix(k.name).is_some_and(|rest| rest.starts_with('-')))
    }

    /// Its shape as a config; what doesn't change a count is left at a plain value.
    pub fn config(&self) -> ModelConfig {
        ModelConfig {
            family: Family::Llama,
            vocab_size: self.vocabulary,
            hidden_size: self.hidden,
            intermediate_size: self.intermediate,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.kv_heads,
            head_dim: self.head,
            rms_norm_eps: 1e-5,
            ropes: vec![Rope { theta: 10_000.0, dim: self.head, scaling: RopeScaling::None }],
            layers: vec![LayerSpec { window: None, rope: Some(0) }; self.layers],
            query_pre_attn_scalar: self.head as f64,
            attention_softcap: None,
            logit_softcap: None,
            tie_word_embeddings: self.tied,
            max_position_embeddings: 2048,
            biases: Biases::default(),
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }
}
