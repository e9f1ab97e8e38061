//! ERNIE 4.5 (dense): Llama's layer, rotated in neighbouring pairs.
use super::facts::{Facts, GgufFacts, JsonFacts, RotaryPairs, published};
use super::parts::{PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "ernie4_5",
    architecture: "Ernie4_5ForCausalLM",
    rotary_pairs: RotaryPairs::Neighbours,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 103_424,
        hidden_size: 1024,
        intermediate_size: 3072,
        num_hidden_layers: 18,
        num_attention_heads: 16,
        num_key_value_heads: Some(2),
        head_dim: Some(128),
        max_position_embeddings: 131_072,
        norm_eps: ("rms_norm_eps", 1e-5),
        rope_theta: 500_000.0,
        tie_word_embeddings: true,
        bos: Some(1),
        eos: &[2],
        pad: Some(0),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "ernie4_5",
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("ernie-4.5-0.3b", [103_424, 1024, 3072], 18, [16, 2, 128], true),
    ],
    ..PLAIN
};
