//! OLMoE: experts in every layer; all heads of q, and all of k, normalised together, norms before attention and experts.
use super::experts::{ExpertFacts, ExpertLayers, Experts, Normalised, Scores};
use super::facts::{Facts, GgufFacts, HeadNorms, JsonFacts, Published, Unloaded, published};
use super::parts::{ATTENTION_BIAS, BEFORE_AND_HEADS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "olmoe",
    architecture: "OlmoeForCausalLM",
    norms: BEFORE_AND_HEADS,
    head_norms: HeadNorms::AllHeads,
    experts: Some(ExpertFacts {
        router: "mlp.gate",
        path: "mlp.experts",
        names: ["gate_proj", "up_proj", "down_proj"],
        weightless: &["mlp.experts.act_fn"],
        biased: false,
        clamp: None,
        modules: None,
        stacked: None,
        are_parameters: true,
        count: (&["num_experts", "num_local_experts"], 64),
        chosen: 8,
        width: ("intermediate_size", 2048),
        router_aux_loss: 0.01,
        scores: Scores::Softmax,
        choice_bias: None,
        normalised: Normalised::Read {
            default: false,
            in_gguf: false,
        },
        scaled: false,
        shared: None,
        own_width_key: false,
        layers: ExpertLayers::All,
    }),
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 50_304,
        hidden_size: 2048,
        intermediate_size: 2048,
        num_hidden_layers: 16,
        num_attention_heads: 16,
        max_position_embeddings: 4096,
        norm_eps: ("rms_norm_eps", 1e-5),
        eos: &[50_279],
        pad: Some(1),
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        unsupported: &["clip_qkv"],
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "olmoe",
        unloaded: &[
            Unloaded::OutputBias,
            Unloaded::TiedHead,
            Unloaded::WideHeads,
            Unloaded::SharedKeys,
            Unloaded::RopeFactors,
        ],
        ..PLAIN_GGUF
    },
    published: &[Published {
        experts: Some(Experts {
            normalised: false,
            ..Experts::of([64, 8, 1024])
        }),
        ..published(
            "olmoe-1b-7b",
            [50_304, 2048, 1024],
            16,
            [16, 16, 128],
            false,
        )
    }],
    ..PLAIN
};
