//! gpt-oss: attention with sinks and biases, every second layer with a window; experts with biases through a clamped unit, in
//! MXFP4 in published files; yarn without rounding.
use super::experts::{Clamp, ExpertFacts, ExpertLayers, Experts, Normalised, Scores, Stacked};
use super::facts::{
    BiasKey, DefaultRope, Facts, GgufFacts, GgufWindows, JsonFacts, Norm, Published, Sliding,
    Unloaded, published,
};
use super::parts::{PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "gpt_oss",
    architecture: "GptOssForCausalLM",
    weightless: &[],
    sinks: Some("self_attn.sinks"),
    experts: Some(ExpertFacts {
        router: "mlp.router",
        path: "mlp.experts",
        names: ["gate_proj", "up_proj", "down_proj"],
        modules: None,
        stacked: Some(Stacked::Columns([
            "mlp.experts.gate_up_proj",
            "mlp.experts.down_proj",
        ])),
        weightless: &[],
        biased: true,
        clamp: Some(CLAMP),
        are_parameters: false,
        count: (&["num_local_experts", "num_experts"], 128),
        chosen: 4,
        width: ("intermediate_size", 2880),
        router_aux_loss: 0.001,
        scores: Scores::Softmax,
        choice_bias: None,
        normalised: Normalised::Always,
        scaled: false,
        shared: None,
        own_width_key: true,
        layers: ExpertLayers::All,
    }),
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 201_088,
        hidden_size: 2880,
        intermediate_size: 2880,
        num_hidden_layers: 36,
        num_attention_heads: 64,
        num_key_value_heads: Some(8),
        head_dim: Some(64),
        max_position_embeddings: 131_072,
        norm_eps: ("rms_norm_eps", 1e-5),
        rope_theta: 150_000.0,
        qkv_bias: BiasKey::Read("attention_bias", true),
        output_bias: BiasKey::Read("attention_bias", true),
        sliding: Sliding::AllButWith {
            every: 2,
            window: 128,
        },
        default_rope: Some(DefaultRope {
            rope_type: "yarn",
            theta: 150_000.0,
            numbers: &[("factor", 32.0), ("beta_fast", 32.0), ("beta_slow", 1.0)],
            original_max_position_embeddings: 4096,
            truncate: Some(false),
        }),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "gpt-oss",
        norm_names: &[(Norm::MlpInput, "post_attention_norm")],
        windows: GgufWindows::AllBut(2),
        unrounded_yarn: true,
        unloaded: &[
            Unloaded::NoAttentionBiases,
            Unloaded::NoWindows,
            Unloaded::TiedHead,
            Unloaded::RopeFactors,
        ],
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        Published {
            experts: Some(four_of(32)),
            ..published("gpt-oss-20b", [201_088, 2880, 2880], 24, [64, 8, 64], false)
        },
        Published {
            experts: Some(four_of(128)),
            ..published("gpt-oss-120b", [201_088, 2880, 2880], 36, [64, 8, 64], false)
        },
    ],
    ..PLAIN
};

const CLAMP: Clamp = Clamp {
    alpha: 1.702,
    limit: 7.0,
};

const fn four_of(count: usize) -> Experts {
    Experts {
        clamp: Some(CLAMP),
        ..Experts::of([count, 4, 2880])
    }
}
