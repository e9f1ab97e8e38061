//! Gemma 1: norms before attention and MLP, stored as γ − 1; GeGLU; embeddings times √H.
use super::facts::{Activation, Facts, GgufFacts, JsonFacts, Mlp, published};
use super::parts::{ATTENTION_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "gemma",
    architecture: "GemmaForCausalLM",
    norm_offset: 1.0,
    mlp: Mlp::Gated(Activation::GeluTanh),
    scaled_embedding: true,
    json: JsonFacts {
        vocab_size: 256_000,
        hidden_size: 3072,
        intermediate_size: 24_576,
        num_hidden_layers: 28,
        num_attention_heads: 16,
        num_key_value_heads: Some(16),
        head_dim: Some(256),
        max_position_embeddings: 8192,
        tie_word_embeddings: true,
        bos: Some(2),
        eos: &[1],
        pad: Some(0),
        // Its first files say "gelu" and mean the tanh formula.
        activation_names: &["gelu"],
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "gemma",
        own_head: false,
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("gemma-2b", [256_000, 2048, 16_384], 18, [8, 1, 256],   true),
        published("gemma-7b", [256_000, 3072, 24_576], 28, [16, 16, 256], true),
    ],
    ..PLAIN
};
