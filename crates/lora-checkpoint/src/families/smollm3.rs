//! SmolLM3: every fourth layer has no rotary embedding.
use super::facts::{Facts, GgufFacts, JsonFacts, Sliding, published};
use super::parts::{ATTENTION_BIAS, MLP_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 128_256,
        hidden_size: 2048,
        num_hidden_layers: 36,
        num_attention_heads: 16,
        num_key_value_heads: Some(4),
        max_position_embeddings: 32_768,
        rope_theta: 2_000_000.0,
        tie_word_embeddings: true,
        bos: Some(128_000),
        eos: &[128_001],
        pad: Some(128_004),
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        mlp_bias: MLP_BIAS,
        sliding: Sliding::WithoutRope,
        no_rope_interval: Some(4),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "smollm3",
        permuted: true,
        no_rope_every: Some(4),
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("smollm3-3b", [128_256, 2048, 11_008], 36, [16, 4, 128], true),
    ],
    ..PLAIN
};
