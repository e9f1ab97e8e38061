//! Seed-OSS: biases on q, k and v; heads wider than their share of the hidden state.
use super::facts::{BiasKey, Facts, GgufFacts, JsonFacts, Norm, published};
use super::parts::{MLP_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "seed_oss",
    architecture: "SeedOssForCausalLM",
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 155_136,
        intermediate_size: 27_648,
        num_hidden_layers: 64,
        num_attention_heads: 80,
        num_key_value_heads: Some(8),
        head_dim: Some(128),
        max_position_embeddings: 524_288,
        bos: Some(0),
        eos: &[2],
        pad: Some(1),
        qkv_bias: BiasKey::Read("attention_bias", true),
        output_bias: BiasKey::Read("attention_out_bias", false),
        mlp_bias: MLP_BIAS,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "seed_oss",
        norm_names: &[(Norm::MlpInput, "post_attention_norm")],
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("seed-oss-36b", [155_136, 5120, 27_648], 64, [80, 8, 128], false),
    ],
    ..PLAIN
};
