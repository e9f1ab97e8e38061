//! OLMo 3: OLMo 2 with a window in all but every fourth layer, and a rotary embedding for each kind of layer.
use super::facts::{
    Facts, GgufFacts, GgufLocalBase, GgufWindows, HeadNorms, JsonFacts, LocalRope, Sliding,
    published,
};
use super::parts::{AFTER_AND_HEADS, ATTENTION_BIAS, OLMO_UNLOADED, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "olmo3",
    architecture: "Olmo3ForCausalLM",
    norms: AFTER_AND_HEADS,
    head_norms: HeadNorms::AllHeads,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 50_304,
        norm_eps: ("rms_norm_eps", 1e-5),
        rope_theta: 500_000.0,
        eos: &[50_279],
        pad: Some(1),
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        sliding: Sliding::AllBut(4),
        local_rope: Some(LocalRope {
            theta: 500_000.0,
            key: None,
            in_gguf: GgufLocalBase::OfFullLayers,
        }),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "olmo2",
        unloaded: OLMO_UNLOADED,
        marked_by_window: true,
        windows: GgufWindows::AllBut(4),
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("olmo-3-7b",  [100_278, 4096, 11_008], 32, [32, 32, 128], false),
        published("olmo-3-32b", [100_278, 5120, 27_648], 64, [40, 8, 128],  false),
    ],
    ..PLAIN
};
