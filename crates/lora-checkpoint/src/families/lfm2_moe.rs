//! LFM2 with experts: layers as LFM2's; but for the first ones, experts in the place of the MLP, which are chosen by sigmoids with
//! a number for each expert added.
use super::experts::{ExpertFacts, ExpertLayers, Experts, Normalised, Scores};
use super::facts::{Facts, GgufFacts, JsonFacts, Published, published};
use super::parts::{LFM2_NAMES, LFM2_NORMS, LFM2_RECURRENT, PLAIN, PLAIN_GGUF, PLAIN_JSON};

/// Layers with attention of the published model.
const ATTENTION: &[usize] = &[2, 6, 10, 14, 18, 21];

pub(super) const FACTS: Facts = Facts {
    model_type: "lfm2_moe",
    architecture: "Lfm2MoeForCausalLM",
    recurrent: Some(LFM2_RECURRENT),
    names: LFM2_NAMES,
    norms: LFM2_NORMS,
    last_norm: "model.embedding_norm",
    weightless: &[],
    experts: Some(ExpertFacts {
        router: "feed_forward.gate",
        path: "feed_forward.experts",
        names: ["w1", "w3", "w2"],
        weightless: &[],
        biased: false,
        clamp: None,
        modules: None,
        stacked: None,
        are_parameters: false,
        count: (&["num_experts"], 32),
        chosen: 4,
        width: ("moe_intermediate_size", 1792),
        router_aux_loss: 0.0,
        scores: Scores::Sigmoid,
        choice_bias: Some("feed_forward.expert_bias"),
        normalised: Normalised::Read {
            default: true,
            in_gguf: true,
        },
        scaled: true,
        shared: None,
        own_width_key: false,
        layers: ExpertLayers::Behind(2),
    }),
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 65_536,
        hidden_size: 2048,
        intermediate_size: 7168,
        num_key_value_heads: Some(8),
        max_position_embeddings: 128_000,
        norm_eps: ("norm_eps", 1e-5),
        rope_theta: 1_000_000.0,
        tie_word_embeddings: true,
        bos: Some(1),
        eos: &[2],
        pad: Some(0),
        tie_embedding: true,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "lfm2moe",
        last_norm: "token_embd_norm",
        ..PLAIN_GGUF
    },
    published: &[Published {
        experts: Some(Experts {
            scores: Scores::Sigmoid,
            choice_bias: true,
            ..Experts::of([32, 4, 1792])
        }),
        ..published("lfm2-8b-a1b", [65_536, 2048, 7168], 24, [32, 8, 64], true)
            .with_attention_in(ATTENTION)
    }],
    ..PLAIN
};
