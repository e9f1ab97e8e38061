//! Ministral 8B (2410): Mistral with a window in the layers that `layer_types` names. llama.cpp has no name for it: in GGUF it
//! is a llama file, and with a window a mistral's.
use super::facts::{Facts, GgufFacts, GgufWindows, JsonFacts, Sliding, SmallValues, published};
use super::parts::{PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "ministral",
    architecture: "MinistralForCausalLM",
    peft_targets: &[],
    json: JsonFacts {
        intermediate_size: 14_336,
        num_key_value_heads: Some(8),
        max_position_embeddings: 131_072,
        bos: Some(1),
        eos: &[2],
        sliding: Sliding::Named(Some(4096)),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        unloaded: &[],
        architecture: "llama",
        permuted: true,
        windows: GgufWindows::Unapplied,
        small_values: SmallValues::OfGrouped(80),
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("ministral-8b", [131_072, 4096, 12_288], 36, [32, 8, 128], false),
    ],
    ..PLAIN
};
