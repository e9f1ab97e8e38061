//! Qwen 2 and 2.5: biases on q, k and v.
use super::facts::{BiasKey, Facts, GgufFacts, JsonFacts, Sliding, SmallValues, published};
use super::parts::{PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    json: JsonFacts {
        vocab_size: 151_936,
        intermediate_size: 22_016,
        num_key_value_heads: Some(32),
        max_position_embeddings: 32_768,
        qkv_bias: BiasKey::Always,
        sliding: Sliding::FromLayer,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "qwen2",
        small_values: SmallValues::Of(80),
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("qwen2.5-0.5b", [151_936, 896, 4864],    24, [14, 2, 64],  true),
        published("qwen2.5-1.5b", [151_936, 1536, 8960],   28, [12, 2, 128], true),
        published("qwen2.5-3b",   [151_936, 2048, 11_008], 36, [16, 2, 128], true),
        published("qwen2.5-7b",   [152_064, 3584, 18_944], 28, [28, 4, 128], false),
        published("qwen2.5-14b",  [152_064, 5120, 13_824], 48, [40, 8, 128], false),
        published("qwen2.5-32b",  [152_064, 5120, 27_648], 64, [40, 8, 128], false),
        published("qwen2.5-72b",  [152_064, 8192, 29_568], 80, [64, 8, 128], false),
    ],
    ..PLAIN
};
