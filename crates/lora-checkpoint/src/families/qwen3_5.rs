//! Qwen 3.5 (dense; also Qwen 3.6): Gated DeltaNet in three of four layers, in every fourth attention whose output has a
//! gate, which lies beside the queries; q and k normalised head by head, norms stored as γ − 1, a quarter of a head rotated.
use super::facts::{Facts, GgufFacts, JsonFacts, Norm, Unloaded, published};
use super::mixers::{DeltaShape, Recurrent, RecurrentKind};
use super::parts::{ATTENTION_BIAS, BEFORE_AND_HEADS, PLAIN, PLAIN_GGUF, PLAIN_JSON};
use crate::projection::Projection::{
    DeltaA, DeltaB, DeltaOut, DeltaQkv, DeltaZ, Down, Gate, K, O, QGate, Up, V,
};

pub(super) const FACTS: Facts = Facts {
    model_type: "qwen3_5_text",
    architecture: "Qwen3_5ForCausalLM",
    projections: &[QGate, K, V, O, Gate, Up, Down],
    recurrent: Some(Recurrent {
        projections: &[DeltaQkv, DeltaZ, DeltaB, DeltaA, DeltaOut, Gate, Up, Down],
        kind: RecurrentKind::Delta {
            shape: DeltaShape {
                key_heads: 16,
                value_heads: 32,
                key_dim: 128,
                value_dim: 128,
                taps: 4,
            },
            attention_every: 4,
        },
        beside_attention: false,
    }),
    norms: BEFORE_AND_HEADS,
    norm_offset: 1.0,
    peft_targets: &[],
    unread_weights: &["mtp."],
    json: JsonFacts {
        vocab_size: 248_320,
        intermediate_size: 12_288,
        num_attention_heads: 16,
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        max_position_embeddings: 32_768,
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        partial_rotary_factor: Some(0.25),
        sectioned_rope: true,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "qwen35",
        norm_names: &[(Norm::MlpInput, "post_attention_norm")],
        partial_rotary: true,
        unloaded: &[
            Unloaded::QkvBias,
            Unloaded::OutputBias,
            Unloaded::MlpBias,
            Unloaded::RopeFactors,
            Unloaded::UnevenHeads,
        ],
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("qwen3.5-0.8b", [248_320, 1024, 3584],   24, [8, 2, 256], true).with_states([16, 16]),
        published("qwen3.5-9b",   [248_320, 4096, 12_288], 32, [16, 4, 256], false),
    ],
    ..PLAIN
};
