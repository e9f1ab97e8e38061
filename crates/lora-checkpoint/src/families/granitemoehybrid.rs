//! Granite 4 (micro, 1b, 350m, their kin with an `h`, h-tiny and h-small): Granite's factors, gate and up stacked in the one MLP
//! of a layer, in some models experts beside it, and Mamba-2 in the layers that are named so; attention mostly without a rotary
//! embedding then.
use super::experts::{ExpertFacts, Experts, Shared};
use super::facts::{Facts, GgufFacts, JsonFacts, Published, Unloaded, published};
use super::mamba::{MambaNorm, MambaShape};
use super::mixers::{Recurrent, RecurrentKind};
use super::parts::{
    ATTENTION_BIAS, GATE_UP_STACKED, GRANITE_EXPERTS, GRANITE_SHARED, PLAIN, PLAIN_GGUF, PLAIN_JSON,
};
use crate::projection::Projection::{Down, GateUp, MambaIn, MambaOut};

/// Layers with attention of the published models of 40 layers, and of 32.
const OF_40: &[usize] = &[5, 15, 25, 35];
const OF_32: &[usize] = &[10, 13, 17, 27];

pub(super) const FACTS: Facts = Facts {
    model_type: "granitemoehybrid",
    architecture: "GraniteMoeHybridForCausalLM",
    projections: GATE_UP_STACKED,
    recurrent: Some(Recurrent {
        projections: &[MambaIn, MambaOut, GateUp, Down],
        kind: RecurrentKind::Mamba(MambaShape {
            heads: 128,
            width: 64,
            groups: 1,
            state: 256,
            taps: 4,
            conv_bias: true,
            norm: MambaNorm::BehindGate,
            limits: MambaShape::UNLIMITED,
        }),
        beside_attention: false,
    }),
    names: GRANITE_SHARED,
    weightless: &["shared_mlp.activation"],
    experts: Some(ExpertFacts {
        shared: Some(Shared {
            width: ("shared_intermediate_size", 1024),
            alone: true,
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
        rope_switch: true,
        unsupported: &["layers_block_type"],
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "granitehybrid",
        stateless: Some(["granite", "granitemoe"]),
        permuted: true,
        gate_up_apart: true,
        unloaded: &[Unloaded::RopeFactors, Unloaded::MambaWidth],
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        dense("granite-4.0-350m",  [1024, 2048], 28, [16, 4, 64]),
        dense("granite-4.0-1b",    [2048, 4096], 40, [16, 4, 128]),
        dense("granite-4.0-micro", [2560, 8192], 40, [40, 8, 64]),
        hybrid("granite-4.0-h-350m",  [768, 2048],  32, [12, 4, 64],  48).with_attention_in(OF_32),
        hybrid("granite-4.0-h-1b",    [1536, 4096], 40, [12, 4, 128], 48).with_attention_in(OF_40),
        hybrid("granite-4.0-h-micro", [2048, 8192], 40, [32, 8, 64],  64).with_attention_in(OF_40),
        Published {
            experts: Some(beside(1024, [64, 6, 512])),
            ..hybrid("granite-4.0-h-tiny",  [1536, 512], 40, [12, 4, 128], 48).with_attention_in(OF_40)
        },
        Published {
            experts: Some(beside(1536, [72, 10, 768])),
            ..hybrid("granite-4.0-h-small", [4096, 768], 40, [32, 8, 128], 128).with_attention_in(OF_40)
        },
    ],
    ..PLAIN
};

const fn dense(
    name: &'static str,
    [hidden, intermediate]: [usize; 2],
    layers: usize,
    heads: [usize; 3],
) -> Published {
    published(name, [100_352, hidden, intermediate], layers, heads, true)
        .with_attention_everywhere()
}

/// With so many heads of Mamba-2, and a state of 128.
const fn hybrid(
    name: &'static str,
    [hidden, intermediate]: [usize; 2],
    layers: usize,
    heads: [usize; 3],
    of_states: usize,
) -> Published {
    let shape = published(name, [100_352, hidden, intermediate], layers, heads, true);
    shape.with_states([of_states, 128])
}

/// So many experts, the chosen of them, and their width, beside an MLP of a width of its own.
const fn beside(shared: usize, numbers: [usize; 3]) -> Experts {
    Experts {
        shared: Some(shared),
        ..Experts::of(numbers)
    }
}
