//! Qwen 3 (dense): q and k normalised head by head.
use super::facts::{Facts, GgufFacts, JsonFacts, Sliding, published};
use super::parts::{ATTENTION_BIAS, BEFORE_AND_HEADS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    norms: BEFORE_AND_HEADS,
    json: JsonFacts {
        vocab_size: 151_936,
        intermediate_size: 22_016,
        num_key_value_heads: Some(32),
        head_dim: Some(128),
        max_position_embeddings: 32_768,
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        sliding: Sliding::FromLayer,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "qwen3",
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("qwen3-0.6b", [151_936, 1024, 3072],   28, [16, 8, 128], true),
        published("qwen3-1.7b", [151_936, 2048, 6144],   28, [16, 8, 128], true),
        published("qwen3-4b",   [151_936, 2560, 9728],   36, [32, 8, 128], true),
        published("qwen3-8b",   [151_936, 4096, 12_288], 36, [32, 8, 128], false),
        published("qwen3-14b",  [151_936, 5120, 17_408], 40, [40, 8, 128], false),
        published("qwen3-32b",  [151_936, 5120, 25_600], 64, [64, 8, 128], false),
    ],
    ..PLAIN
};
