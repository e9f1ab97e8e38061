//! GLM-4 (0414): norms before and after; gate and up in one linear layer; half of a head rotated, in neighbouring pairs.
use super::facts::{BiasKey, Facts, GgufFacts, JsonFacts, Norm, RotaryPairs, published};
use super::parts::{GATE_UP_STACKED, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "glm4",
    architecture: "Glm4ForCausalLM",
    projections: GATE_UP_STACKED,
    weightless: &["mlp.activation_fn"],
    norms: &[
        (Norm::Input, "input_layernorm"),
        (Norm::AttentionOutput, "post_self_attn_layernorm"),
        (Norm::MlpInput, "post_attention_layernorm"),
        (Norm::MlpOutput, "post_mlp_layernorm"),
    ],
    rotary_pairs: RotaryPairs::Neighbours,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 151_552,
        intermediate_size: 13_696,
        num_hidden_layers: 40,
        num_key_value_heads: Some(2),
        head_dim: Some(128),
        max_position_embeddings: 131_072,
        norm_eps: ("rms_norm_eps", 0.000_000_156_25),
        pad: Some(151_329),
        eos: &[151_329, 151_336, 151_338],
        qkv_bias: BiasKey::Read("attention_bias", true),
        partial_rotary_factor: Some(0.5),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "glm4",
        partial_rotary: true,
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("glm-4-9b",  [151_552, 4096, 13_696], 40, [32, 2, 128], false),
        published("glm-4-32b", [151_552, 6144, 23_040], 61, [48, 2, 128], false),
    ],
    ..PLAIN
};
