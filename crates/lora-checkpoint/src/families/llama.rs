//! Llama 1 to 3, TinyLlama, SmolLM2 and all that took their shape.
use super::facts::{Facts, GgufFacts, JsonFacts, SmallValues, published};
use super::parts::{ATTENTION_BIAS, MLP_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    json: JsonFacts {
        bos: Some(1),
        eos: &[2],
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        mlp_bias: MLP_BIAS,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        unloaded: &[],
        architecture: "llama",
        permuted: true,
        small_values: SmallValues::OfGrouped(80),
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("llama-2-7b",     [32_000, 4096, 11_008],    32,  [32, 32, 128], false),
        published("llama-2-13b",    [32_000, 5120, 13_824],    40,  [40, 40, 128], false),
        published("llama-2-70b",    [32_000, 8192, 28_672],    80,  [64, 8, 128],  false),
        published("llama-3-8b",     [128_256, 4096, 14_336],   32,  [32, 8, 128],  false),
        published("llama-3-70b",    [128_256, 8192, 28_672],   80,  [64, 8, 128],  false),
        published("llama-3.1-8b",   [128_256, 4096, 14_336],   32,  [32, 8, 128],  false),
        published("llama-3.1-70b",  [128_256, 8192, 28_672],   80,  [64, 8, 128],  false),
        published("llama-3.1-405b", [128_256, 16_384, 53_248], 126, [128, 8, 128], false),
        published("llama-3.2-1b",   [128_256, 2048, 8192],     16,  [32, 8, 64],   true),
        published("llama-3.2-3b",   [128_256, 3072, 8192],     28,  [24, 8, 128],  true),
        published("llama-3.3-70b",  [128_256, 8192, 28_672],   80,  [64, 8, 128],  false),
        published("tinyllama-1.1b", [32_000, 2048, 5632],      22,  [32, 4, 64],   false),
        published("smollm2-135m",   [49_152, 576, 1536],       30,  [9, 3, 64],    true),
        published("smollm2-360m",   [49_152, 960, 2560],       32,  [15, 5, 64],   true),
        published("smollm2-1.7b",   [49_152, 2048, 8192],      24,  [32, 32, 64],  true),
    ],
    ..PLAIN
};
