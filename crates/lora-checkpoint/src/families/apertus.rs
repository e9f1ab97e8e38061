//! Apertus: an MLP without a gate through xIELU, q and k normalised head by head, Llama 3's rotary scaling.
use super::facts::{DefaultRope, Facts, GgufFacts, JsonFacts, Mlp, Norm, Unloaded, published};
use super::parts::{ATTENTION_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON, WITHOUT_GATE};

pub(super) const FACTS: Facts = Facts {
    model_type: "apertus",
    architecture: "ApertusForCausalLM",
    projections: WITHOUT_GATE,
    norms: &[
        (Norm::Input, "attention_layernorm"),
        (Norm::Query, "self_attn.q_norm"),
        (Norm::Key, "self_attn.k_norm"),
        (Norm::MlpInput, "feedforward_layernorm"),
    ],
    mlp: Mlp::Xielu,
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 131_072,
        intermediate_size: 14_336,
        max_position_embeddings: 65_536,
        norm_eps: ("rms_norm_eps", 1e-5),
        rope_theta: 12_000_000.0,
        bos: Some(1),
        eos: &[2],
        pad: Some(3),
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        default_rope: Some(DefaultRope {
            rope_type: "llama3",
            theta: 12_000_000.0,
            numbers: &[
                ("factor", 8.0),
                ("low_freq_factor", 1.0),
                ("high_freq_factor", 4.0),
            ],
            original_max_position_embeddings: 8192,
            truncate: None,
        }),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "apertus",
        unloaded: &[Unloaded::TiedHead],
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("apertus-8b",  [131_072, 4096, 21_504], 32, [32, 8, 128], false),
        published("apertus-70b", [131_072, 8192, 43_008], 80, [64, 8, 128], false),
    ],
    ..PLAIN
};
