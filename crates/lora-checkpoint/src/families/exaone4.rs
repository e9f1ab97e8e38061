//! EXAONE 4: norms after attention and MLP alone, q and k normalised head by head. The larger ones have a window in all but
//! every fourth layer, and there alone a rotary embedding.
use super::facts::{
    Facts, GgufFacts, GgufWindows, JsonFacts, RopeInWindows, Sliding, Unloaded, published,
};
use super::parts::{AFTER_AND_HEADS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "exaone4",
    architecture: "Exaone4ForCausalLM",
    norms: AFTER_AND_HEADS,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 102_400,
        intermediate_size: 16_384,
        num_key_value_heads: Some(32),
        norm_eps: ("rms_norm_eps", 1e-5),
        bos: Some(0),
        eos: &[2],
        sliding: Sliding::Pattern(4),
        rope_in_windows: RopeInWindows::IfNamed,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "exaone4",
        unloaded: &[Unloaded::WideHeads],
        windows: GgufWindows::AllButIn {
            every: 4,
            layers: 64,
            window: 4096,
        },
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("exaone-4.0-1.2b", [102_400, 2048, 4096],   30, [32, 8, 64],  true),
        published("exaone-4.0-32b",  [102_400, 5120, 27_392], 64, [40, 8, 128], false),
    ],
    ..PLAIN
};
