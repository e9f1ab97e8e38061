//! Qwen 3 with experts: attention as Qwen 3 (dense), in each layer or in some of them a mixture in the place of the MLP.
use super::experts::{ExpertFacts, ExpertLayers, Experts, Normalised, Scores};
use super::facts::{Facts, GgufFacts, JsonFacts, Published, Sliding, Unloaded, published};
use super::parts::{ATTENTION_BIAS, BEFORE_AND_HEADS, PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "qwen3_moe",
    architecture: "Qwen3MoeForCausalLM",
    norms: BEFORE_AND_HEADS,
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
        count: (&["num_experts", "num_local_experts"], 128),
        chosen: 8,
        width: ("moe_intermediate_size", 768),
        router_aux_loss: 0.001,
        scores: Scores::Softmax,
        choice_bias: None,
        normalised: Normalised::Read {
            default: false,
            in_gguf: true,
        },
        scaled: false,
        shared: None,
        own_width_key: false,
        layers: ExpertLayers::Some,
    }),
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 151_936,
        hidden_size: 2048,
        intermediate_size: 6144,
        num_hidden_layers: 24,
        num_key_value_heads: Some(4),
        max_position_embeddings: 32_768,
        qkv_bias: ATTENTION_BIAS,
        output_bias: ATTENTION_BIAS,
        sliding: Sliding::IfUsed,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "qwen3moe",
        unloaded: &[Unloaded::OutputBias, Unloaded::RopeFactors],
        ..PLAIN_GGUF
    },
    published: &[
        Published {
            experts: Some(chosen_of_128(768)),
            ..published(
                "qwen3-30b-a3b",
                [151_936, 2048, 6144],
                48,
                [32, 4, 128],
                false,
            )
        },
        Published {
            experts: Some(chosen_of_128(1536)),
            ..published(
                "qwen3-235b-a22b",
                [151_936, 4096, 12_288],
                94,
                [64, 4, 128],
                false,
            )
        },
    ],
    ..PLAIN
};

const fn chosen_of_128(width: usize) -> Experts {
    Experts::of([128, 8, width])
}
