//! Falcon-H1: in every layer attention and Mamba-2 side by side on one norm of its input, then an MLP; factors around all linear
//! layers (µP), which GGUF has in the weights.
use super::facts::{Facts, GgufFacts, JsonFacts, Norm, Published, Unloaded, published};
use super::mamba::{MambaNorm, MambaShape};
use super::mixers::{Recurrent, RecurrentKind};
use super::parts::{ATTENTION_BIAS, MLP_BIAS, PLAIN, PLAIN_GGUF, PLAIN_JSON};
use crate::projection::Projection::{Down, Gate, K, MambaIn, MambaOut, O, Q, Up, V};

/// Where nothing is said.
const USUAL: MambaShape = MambaShape {
    heads: 128,
    width: 8,
    groups: 1,
    state: 256,
    taps: 4,
    conv_bias: true,
    norm: MambaNorm::Without,
    limits: MambaShape::UNLIMITED,
};

pub(super) const FACTS: Facts = Facts {
    model_type: "falcon_h1",
    architecture: "FalconH1ForCausalLM",
    recurrent: Some(Recurrent {
        projections: &[MambaIn, MambaOut, Q, K, V, O, Gate, Up, Down],
        kind: RecurrentKind::Mamba(USUAL),
        beside_attention: true,
    }),
    names: &[
        (Gate, "feed_forward.gate_proj"),
        (Up, "feed_forward.up_proj"),
        (Down, "feed_forward.down_proj"),
    ],
    norms: &[
        (Norm::Input, "input_layernorm"),
        (Norm::MlpInput, "pre_ff_layernorm"),
    ],
    last_norm: "model.final_layernorm",
    weightless: &["feed_forward.act_fn", "mamba.act"],
    peft_targets: &[],
    unadapted: &[MambaOut],
    json: JsonFacts {
        vocab_size: 128_000,
        intermediate_size: 14_336,
        num_key_value_heads: Some(8),
        max_position_embeddings: 8192,
        norm_eps: ("rms_norm_eps", 1e-5),
        bos: Some(1),
        eos: &[2],
        pad: Some(0),
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        mlp_bias: MLP_BIAS,
        factors: true,
        mamba_width: Some(1024),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "falcon-h1",
        folds_factors: true,
        bare_norms: &[Norm::MlpInput],
        unloaded: &[],
        unapplied: &[Unloaded::OutputBias, Unloaded::RopeFactors],
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        model("falcon-h1-0.5b", [32_784, 1024, 2048],   36, [8, 2, 64],   [24, 64, 128],  MambaNorm::Without),
        model("falcon-h1-1.5b", [65_537, 2048, 4608],   24, [8, 2, 128],  [48, 64, 256],  MambaNorm::BehindGate),
        model("falcon-h1-7b",   [130_048, 3072, 12_288], 44, [12, 2, 128], [24, 128, 256], MambaNorm::BehindGate),
    ],
    ..PLAIN
};

/// With so many heads of Mamba-2, so wide, and a state of so many columns.
const fn model(
    name: &'static str,
    shape: [usize; 3],
    layers: usize,
    attention: [usize; 3],
    [heads, width, state]: [usize; 3],
    norm: MambaNorm,
) -> Published {
    let own = MambaShape {
        heads,
        width,
        state,
        norm,
        ..USUAL
    };
    published(name, shape, layers, attention, false).with_mamba(own)
}
