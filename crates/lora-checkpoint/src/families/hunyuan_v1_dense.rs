//! Hunyuan (dense): queries and keys normalised head by head after their rotary embedding, whose base `alpha` enlarges.
use super::facts::{Facts, GgufFacts, HeadNorms, JsonFacts, Norm, published};
use super::parts::{ATTENTION_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "hunyuan_v1_dense",
    architecture: "HunYuanDenseV1ForCausalLM",
    norms: &[
        (Norm::Input, "input_layernorm"),
        (Norm::Query, "self_attn.query_layernorm"),
        (Norm::Key, "self_attn.key_layernorm"),
        (Norm::MlpInput, "post_attention_layernorm"),
    ],
    head_norms: HeadNorms::EachRotatedHead,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 290_943,
        norm_eps: ("rms_norm_eps", 1e-5),
        bos: Some(1),
        eos: &[2],
        pad: Some(0),
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        rope_alpha: true,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "hunyuan-dense",
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("hunyuan-4b", [120_818, 3072, 8192],   36, [32, 8, 128], true),
        published("hunyuan-7b", [128_167, 4096, 14_336], 32, [32, 8, 128], true),
    ],
    ..PLAIN
};
