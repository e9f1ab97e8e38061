//! Ministral 3, also as the text part of `mistral3` models: Llama's layer, whose queries grow with their position.
use super::facts::{Facts, GgufFacts, JsonFacts, Sliding, published};
use super::parts::{PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "ministral3",
    architecture: "Ministral3ForCausalLM",
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 131_072,
        intermediate_size: 14_336,
        num_hidden_layers: 34,
        num_key_value_heads: Some(8),
        head_dim: Some(128),
        max_position_embeddings: 262_144,
        norm_eps: ("rms_norm_eps", 1e-5),
        bos: Some(1),
        eos: &[2],
        pad: Some(11),
        sliding: Sliding::All(None),
        query_growth: true,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        unloaded: &[],
        architecture: "mistral3",
        permuted: true,
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("ministral-3-3b",  [131_072, 3072, 9216],   26, [32, 8, 128], true),
        published("ministral-3-8b",  [131_072, 4096, 14_336], 34, [32, 8, 128], false),
        published("ministral-3-14b", [131_072, 5120, 16_384], 40, [32, 8, 128], false),
    ],
    ..PLAIN
};
