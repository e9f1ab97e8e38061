//! Phi-3 and Phi-4-mini: q, k, v in one linear layer, gate and up in one; LongRoPE over a part of the head.
use super::facts::{Facts, GgufFacts, GgufWindows, JsonFacts, Sliding, published};
use super::parts::{PLAIN, PLAIN_GGUF, PLAIN_JSON, STACKED};

pub(super) const FACTS: Facts = Facts {
    model_type: "phi3",
    architecture: "Phi3ForCausalLM",
    projections: STACKED,
    weightless: &[
        "mlp.activation_fn",
        "resid_attn_dropout",
        "resid_mlp_dropout",
    ],
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 32_064,
        hidden_size: 3072,
        intermediate_size: 8192,
        max_position_embeddings: 4096,
        norm_eps: ("rms_norm_eps", 1e-5),
        bos: Some(1),
        eos: &[32_000],
        pad: Some(32_000),
        sliding: Sliding::All(None),
        partial_rotary_factor: Some(1.0),
        // Early files name LongRoPE so.
        rope_types: &[("su", "longrope"), ("yarn", "longrope")],
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        unloaded: &[],
        architecture: "phi3",
        windows: GgufWindows::Unapplied,
        partial_rotary: true,
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("phi-3-mini",   [32_064, 3072, 8192],   32, [32, 32, 96],  false),
        published("phi-3-medium", [32_064, 5120, 17_920], 40, [40, 10, 128], false),
        published("phi-4-mini",   [200_064, 3072, 8192],  32, [24, 8, 128],  true),
    ],
    ..PLAIN
};
