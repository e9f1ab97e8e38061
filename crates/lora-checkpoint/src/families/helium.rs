//! Helium: Llama's layer, rotated in neighbouring pairs. llama.cpp has no architecture of that name, and its `llama` rotates
//! such pairs: rows of q and k lie there as they are, and a key of our own says which of the two a file holds.
use super::facts::{Facts, GgufFacts, JsonFacts, RotaryPairs, SmallValues, published};
use super::parts::{ATTENTION_BIAS, MLP_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "helium",
    architecture: "HeliumForCausalLM",
    rotary_pairs: RotaryPairs::Neighbours,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 48_000,
        hidden_size: 2560,
        intermediate_size: 7040,
        num_hidden_layers: 24,
        num_attention_heads: 20,
        num_key_value_heads: Some(20),
        head_dim: Some(128),
        max_position_embeddings: 4096,
        norm_eps: ("rms_norm_eps", 1e-8),
        rope_theta: 100_000.0,
        bos: Some(1),
        eos: &[2],
        pad: Some(3),
        qkv_bias: ATTENTION_BIAS,
        mlp_bias: MLP_BIAS,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        unloaded: &[],
        architecture: "llama",
        told_by_name: true,
        small_values: SmallValues::OfGrouped(80),
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("helium-1-preview-2b", [48_000, 2560, 7040], 24, [20, 20, 128], false),
    ],
    ..PLAIN
};
