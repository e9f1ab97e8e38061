//! Granite 3 and 4 (dense): Llama's layer, and factors beside the matrices.
use super::facts::{Facts, GgufFacts, JsonFacts, published};
use super::parts::{ATTENTION_BIAS, MLP_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "granite",
    architecture: "GraniteForCausalLM",
    peft_targets: &[],
    json: JsonFacts {
        bos: Some(1),
        eos: &[2],
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        mlp_bias: MLP_BIAS,
        multipliers: true,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        unloaded: &[],
        architecture: "granite",
        permuted: true,
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("granite-3.3-2b", [49_159, 2048, 8192],   40, [32, 8, 64],  true),
        published("granite-3.3-8b", [49_159, 4096, 12_800], 40, [32, 8, 128], true),
    ],
    ..PLAIN
};
