//! Granite 3 with experts and an MLP beside them: as Granite's other mixtures, and the MLP has gate and up stacked. In GGUF it
//! lies as these do, and the width of that MLP tells it from them.
use super::experts::{ExpertFacts, Shared};
use super::facts::{Facts, GgufFacts, JsonFacts};
use super::parts::{
    ATTENTION_BIAS, GATE_UP_STACKED, GRANITE_EXPERTS, GRANITE_SHARED, PLAIN, PLAIN_GGUF, PLAIN_JSON,
};

pub(super) const FACTS: Facts = Facts {
    model_type: "granitemoeshared",
    architecture: "GraniteMoeSharedForCausalLM",
    projections: GATE_UP_STACKED,
    names: GRANITE_SHARED,
    weightless: &["shared_mlp.activation"],
    experts: Some(ExpertFacts {
        shared: Some(Shared {
            width: ("shared_intermediate_size", 0),
            alone: false,
        }),
        ..GRANITE_EXPERTS
    }),
    peft_targets: &[],
    json: JsonFacts {
        bos: Some(1),
        eos: &[2],
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        multipliers: true,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        unloaded: &[],
        architecture: "granitemoe",
        permuted: true,
        gate_up_apart: true,
        ..PLAIN_GGUF
    },
    ..PLAIN
};
