//! Gemma 2: norms before and after, stored as γ − 1; GeGLU; soft caps; a window in every second layer.
use super::facts::{
    Activation, Facts, GgufCap, GgufFacts, GgufWindows, JsonFacts, Mlp, Sliding, SoftCap, published,
};
use super::parts::{AROUND, ATTENTION_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "gemma2",
    architecture: "Gemma2ForCausalLM",
    norms: AROUND,
    norm_offset: 1.0,
    mlp: Mlp::Gated(Activation::GeluTanh),
    scaled_embedding: true,
    json: JsonFacts {
        vocab_size: 256_000,
        hidden_size: 2304,
        intermediate_size: 9216,
        num_hidden_layers: 26,
        num_attention_heads: 8,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        max_position_embeddings: 8192,
        tie_word_embeddings: true,
        bos: Some(2),
        eos: &[1],
        pad: Some(0),
        activation: "hidden_activation",
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        query_pre_attn_scalar: Some(256.0),
        attention_softcap: SoftCap::Read(Some(50.0)),
        logit_softcap: SoftCap::Read(Some(30.0)),
        sliding: Sliding::Pattern(2),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "gemma2",
        windows: GgufWindows::AllBut(2),
        default_window: Some(4096),
        attention_softcap: GgufCap::Default(50.0),
        logit_softcap: GgufCap::Default(30.0),
        own_head: false,
        shared_scalar_layers: Some(46),
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("gemma-2-2b",  [256_000, 2304, 9216],   26, [8, 4, 256],   true),
        published("gemma-2-9b",  [256_000, 3584, 14_336], 42, [16, 8, 256],  true),
        published("gemma-2-27b", [256_000, 4608, 36_864], 46, [32, 16, 128], true),
    ],
    ..PLAIN
};
