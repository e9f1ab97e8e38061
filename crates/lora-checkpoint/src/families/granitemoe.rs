//! Granite 3 with experts: Granite's factors beside the matrices, experts in the place of the MLP, stacked in the files.
use super::experts::Experts;
use super::facts::{Facts, GgufFacts, JsonFacts, Published, published};
use super::parts::{ATTENTION_BIAS, GRANITE_EXPERTS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "granitemoe",
    architecture: "GraniteMoeForCausalLM",
    experts: Some(GRANITE_EXPERTS),
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
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        Published {
            experts: Some(eight_of(32)),
            ..published("granite-3.1-1b-a400m", [49_155, 1024, 512], 24, [16, 8, 64], true)
        },
        Published {
            experts: Some(eight_of(40)),
            ..published("granite-3.1-3b-a800m", [49_155, 1536, 512], 32, [24, 8, 64], true)
        },
    ],
    ..PLAIN
};

const fn eight_of(count: usize) -> Experts {
    Experts::of([count, 8, 512])
}
