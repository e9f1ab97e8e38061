//! OLMo 2: norms after attention and MLP alone; all heads of q, and all of k, normalised together.
use super::facts::{Facts, GgufFacts, HeadNorms, JsonFacts, published};
use super::parts::{AFTER_AND_HEADS, ATTENTION_BIAS, OLMO_UNLOADED, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "olmo2",
    architecture: "Olmo2ForCausalLM",
    norms: AFTER_AND_HEADS,
    head_norms: HeadNorms::AllHeads,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 50_304,
        norm_eps: ("rms_norm_eps", 1e-5),
        eos: &[50_279],
        pad: Some(1),
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "olmo2",
        unloaded: OLMO_UNLOADED,
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("olmo-2-1b",  [100_352, 2048, 8192],   16, [16, 16, 128], false),
        published("olmo-2-7b",  [100_352, 4096, 11_008], 32, [32, 32, 128], false),
        published("olmo-2-13b", [100_352, 5120, 13_824], 40, [40, 40, 128], false),
        published("olmo-2-32b", [100_352, 5120, 27_648], 64, [40, 8, 128],  false),
    ],
    ..PLAIN
};
