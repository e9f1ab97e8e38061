//! Mistral 7B and its kin: a window over all layers. llama.cpp has no name for it: a window in a llama file makes it one.
use super::facts::{Facts, GgufFacts, GgufWindows, JsonFacts, Sliding, SmallValues, published};
use super::parts::{PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    json: JsonFacts {
        intermediate_size: 14_336,
        num_key_value_heads: Some(8),
        max_position_embeddings: 131_072,
        bos: Some(1),
        eos: &[2],
        sliding: Sliding::All(Some(4096)),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        unloaded: &[],
        architecture: "llama",
        permuted: true,
        marked_by_window: true,
        windows: GgufWindows::Unapplied,
        small_values: SmallValues::OfGrouped(80),
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("mistral-7b-v0.1", [32_000, 4096, 14_336], 32, [32, 8, 128], false),
        published("mistral-7b-v0.3", [32_768, 4096, 14_336], 32, [32, 8, 128], false),
    ],
    ..PLAIN
};
