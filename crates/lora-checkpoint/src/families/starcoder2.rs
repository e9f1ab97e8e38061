//! StarCoder 2: LayerNorm, an MLP without a gate, biases everywhere.
use super::facts::{
    Activation, BiasKey, Facts, GgufFacts, GgufWindows, JsonFacts, Mlp, NormKind, Sliding,
    Unloaded, published,
};
use super::parts::{PLAIN, PLAIN_GGUF, PLAIN_JSON, WITHOUT_GATE};
use crate::Projection;

const USE_BIAS: BiasKey = BiasKey::Read("use_bias", true);

pub(super) const FACTS: Facts = Facts {
    model_type: "starcoder2",
    architecture: "Starcoder2ForCausalLM",
    projections: WITHOUT_GATE,
    names: &[
        (Projection::Up, "mlp.c_fc"),
        (Projection::Down, "mlp.c_proj"),
    ],
    weightless: &["mlp.act"],
    norm_kind: NormKind::Layer { bias: true },
    mlp: Mlp::Plain(Activation::GeluTanh),
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 49_152,
        hidden_size: 3072,
        intermediate_size: 12_288,
        num_hidden_layers: 30,
        num_attention_heads: 24,
        num_key_value_heads: Some(2),
        max_position_embeddings: 4096,
        norm_eps: ("norm_epsilon", 1e-5),
        tie_word_embeddings: true,
        bos: Some(50_256),
        eos: &[50_256],
        qkv_bias: USE_BIAS,
        output_bias: USE_BIAS,
        mlp_bias: USE_BIAS,
        sliding: Sliding::All(None),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "starcoder2",
        windows: GgufWindows::Unapplied,
        unloaded: &[
            Unloaded::NoBiases,
            Unloaded::WideHeads,
            Unloaded::RopeFactors,
        ],
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("starcoder2-3b",  [49_152, 3072, 12_288], 30, [24, 2, 128], true),
        published("starcoder2-7b",  [49_152, 4608, 18_432], 32, [36, 4, 128], true),
        published("starcoder2-15b", [49_152, 6144, 24_576], 40, [48, 4, 128], false),
    ],
    ..PLAIN
};
