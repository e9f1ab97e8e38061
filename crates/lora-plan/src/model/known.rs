//! Shapes of well-known models, so that a plan needs no download.
use lora_checkpoint::Family::{self, Gemma2, Gemma3, Llama, Mistral, Phi3, Qwen2, Qwen3, SmolLm3};
use lora_checkpoint::{Biases, LayerSpec, ModelConfig, Rope, RopeScaling};

/// The shape of a published model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Name on the command line.
    pub name: &'static str,
    /// Which family's layers it has.
    pub family: Family,
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

/// One row of [`KNOWN`]: name, family, [V, H, MLP width], layers, [query heads, key/value heads, width of a head], tied.
const fn known(
    name: &'static str,
    family: Family,
    [vocabulary, hidden, intermediate]: [usize; 3],
    layers: usize,
    [heads, kv_heads, head]: [usize; 3],
    tied: bool,
) -> Known {
    Known {
        name,
        family,
        vocabulary,
        hidden,
        intermediate,
        layers,
        heads,
        kv_heads,
        head,
        tied,
    }
}

/// The models known by name, from their published config.json.
#[rustfmt::skip]
pub const KNOWN: [Known; 39] = [
    known("llama-2-7b",       Llama,    [32_000, 4096, 11_008],    32,  [32, 32, 128],   false),
    known("llama-2-13b",      Llama,    [32_000, 5120, 13_824],    40,  [40, 40, 128],   false),
    known("llama-2-70b",      Llama,    [32_000, 8192, 28_672],    80,  [64, 8, 128],    false),
    known("llama-3-8b",       Llama,    [128_256, 4096, 14_336],   32,  [32, 8, 128],    false),
    known("llama-3-70b",      Llama,    [128_256, 8192, 28_672],   80,  [64, 8, 128],    false),
    known("llama-3.1-8b",     Llama,    [128_256, 4096, 14_336],   32,  [32, 8, 128],    false),
    known("llama-3.1-70b",    Llama,    [128_256, 8192, 28_672],   80,  [64, 8, 128],    false),
    known("llama-3.1-405b",   Llama,    [128_256, 16_384, 53_248], 126, [128, 8, 128],   false),
    known("llama-3.2-1b",     Llama,    [128_256, 2048, 8192],     16,  [32, 8, 64],     true),
    known("llama-3.2-3b",     Llama,    [128_256, 3072, 8192],     28,  [24, 8, 128],    true),
    known("llama-3.3-70b",    Llama,    [128_256, 8192, 28_672],   80,  [64, 8, 128],    false),
    known("tinyllama-1.1b",   Llama,    [32_000, 2048, 5632],      22,  [32, 4, 64],     false),
    known("smollm2-135m",     Llama,    [49_152, 576, 1536],       30,  [9, 3, 64],      true),
    known("smollm2-360m",     Llama,    [49_152, 960, 2560],       32,  [15, 5, 64],     true),
    known("smollm2-1.7b",     Llama,    [49_152, 2048, 8192],      24,  [32, 32, 64],    true),
    known("smollm3-3b",       SmolLm3,  [128_256, 2048, 11_008],   36,  [16, 4, 128],    true),
    known("mistral-7b-v0.1",  Mistral,  [32_000, 4096, 14_336],    32,  [32, 8, 128],    false),
    known("mistral-7b-v0.3",  Mistral,  [32_768, 4096, 14_336],    32,  [32, 8, 128],    false),
    known("qwen2.5-0.5b",     Qwen2,    [151_936, 896, 4864],      24,  [14, 2, 64],     true),
    known("qwen2.5-1.5b",     Qwen2,    [151_936, 1536, 8960],     28,  [12, 2, 128],    true),
    known("qwen2.5-3b",       Qwen2,    [151_936, 2048, 11_008],   36,  [16, 2, 128],    true),
    known("qwen2.5-7b",       Qwen2,    [152_064, 3584, 18_944],   28,  [28, 4, 128],    false),
    known("qwen2.5-14b",      Qwen2,    [152_064, 5120, 13_824],   48,  [40, 8, 128],    false),
    known("qwen2.5-32b",      Qwen2,    [152_064, 5120, 27_648],   64,  [40, 8, 128],    false),
    known("qwen2.5-72b",      Qwen2,    [152_064, 8192, 29_568],   80,  [64, 8, 128],    false),
    known("qwen3-0.6b",       Qwen3,    [151_936, 1024, 3072],     28,  [16, 8, 128],    true),
    known("qwen3-1.7b",       Qwen3,    [151_936, 2048, 6144],     28,  [16, 8, 128],    true),
    known("qwen3-4b",         Qwen3,    [151_936, 2560, 9728],     36,  [32, 8, 128],    true),
    known("qwen3-8b",         Qwen3,    [151_936, 4096, 12_288],   36,  [32, 8, 128],    false),
    known("qwen3-14b",        Qwen3,    [151_936, 5120, 17_408],   40,  [40, 8, 128],    false),
    known("qwen3-32b",        Qwen3,    [151_936, 5120, 25_600],   64,  [64, 8, 128],    false),
    known("gemma-2-2b",       Gemma2,   [256_000, 2304, 9216],     26,  [8, 4, 256],     true),
    known("gemma-2-9b",       Gemma2,   [256_000, 3584, 14_336],   42,  [16, 8, 256],    true),
    known("gemma-2-27b",      Gemma2,   [256_000, 4608, 36_864],   46,  [32, 16, 128],   true),
    known("gemma-3-270m",     Gemma3,   [262_144, 640, 2048],      18,  [4, 1, 256],     true),
    known("gemma-3-1b",       Gemma3,   [262_144, 1152, 6912],     26,  [4, 1, 256],     true),
    known("phi-3-mini",       Phi3,     [32_064, 3072, 8192],      32,  [32, 32, 96],    false),
    known("phi-3-medium",     Phi3,     [32_064, 5120, 17_920],    40,  [40, 10, 128],   false),
    known("phi-4-mini",       Phi3,     [200_064, 3072, 8192],     32,  [24, 8, 128],    true),
];

impl Known {
    /// The model of a name, in any case; `-instruct`, `-chat` and the like change no shape.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        KNOWN.into_iter().find(|k| {
            name == k.name
                || name
                    .strip_prefix(k.name)
                    .is_some_and(|rest| rest.starts_with('-'))
        })
    }

    /// Its shape as a config; what doesn't change a count is left at a plain value.
    pub fn config(&self) -> ModelConfig {
        ModelConfig {
            family: self.family,
            vocab_size: self.vocabulary,
            hidden_size: self.hidden,
            intermediate_size: self.intermediate,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.kv_heads,
            head_dim: self.head,
            rms_norm_eps: 1e-5,
            ropes: vec![Rope {
                theta: 10_000.0,
                dim: self.head,
                scaling: RopeScaling::None,
            }],
            layers: vec![
                LayerSpec {
                    window: None,
                    rope: Some(0)
                };
                self.layers
            ],
            query_pre_attn_scalar: self.head as f64,
            attention_softcap: None,
            logit_softcap: None,
            tie_word_embeddings: self.tied,
            max_position_embeddings: 2048,
            biases: Biases {
                qkv: self.family == Qwen2,
                ..Biases::default()
            },
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }
}
