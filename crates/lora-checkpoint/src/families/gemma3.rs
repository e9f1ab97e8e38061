//! Gemma 3 (text): Gemma 2's norms and MLP without a cap on scores; q and k normalised; a window in all but every sixth
//! layer, and there a rotary embedding of its own.
use super::facts::{
    Activation, Facts, GgufCap, GgufFacts, GgufLocalBase, GgufWindows, JsonFacts, LocalRope, Mlp,
    Sliding, SoftCap, published,
};
use super::parts::{AROUND_AND_HEADS, ATTENTION_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    norms: AROUND_AND_HEADS,
    norm_offset: 1.0,
    mlp: Mlp::Gated(Activation::GeluTanh),
    scaled_embedding: true,
    json: JsonFacts {
        vocab_size: 262_208,
        hidden_size: 2304,
        intermediate_size: 9216,
        num_hidden_layers: 26,
        num_attention_heads: 8,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        max_position_embeddings: 131_072,
        rope_theta: 1_000_000.0,
        tie_word_embeddings: true,
        bos: Some(2),
        eos: &[1],
        pad: Some(0),
        activation: "hidden_activation",
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        query_pre_attn_scalar: Some(256.0),
        attention_softcap: SoftCap::Ignored,
        logit_softcap: SoftCap::Read(None),
        sliding: Sliding::Pattern(6),
        local_rope: Some(LocalRope {
            theta: 10_000.0,
            key: Some("rope_local_base_freq"),
            in_gguf: GgufLocalBase::Default,
        }),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "gemma3",
        windows: GgufWindows::AllBut(6),
        logit_softcap: GgufCap::Named,
        shared_scalar_layers: Some(62),
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("gemma-3-270m", [262_144, 640, 2048],  18, [4, 1, 256], true),
        published("gemma-3-1b",   [262_144, 1152, 6912], 26, [4, 1, 256], true),
    ],
    ..PLAIN
};
