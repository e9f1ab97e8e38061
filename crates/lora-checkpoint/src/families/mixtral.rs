//! Mixtral: Mistral's layer with experts in the place of the MLP. llama.cpp has no name for it: experts in a llama file make
//! it one.
use super::experts::{ExpertFacts, ExpertLayers, Experts, Normalised, Scores};
use super::facts::{Facts, GgufFacts, GgufWindows, JsonFacts, Published, Sliding, published};
use super::parts::{PLAIN, PLAIN_GGUF, PLAIN_JSON};

pub(super) const FACTS: Facts = Facts {
    model_type: "mixtral",
    architecture: "MixtralForCausalLM",
    experts: Some(ExpertFacts {
        router: "block_sparse_moe.gate",
        path: "block_sparse_moe.experts",
        names: ["w1", "w3", "w2"],
        weightless: &["mlp.experts.act_fn"],
        biased: false,
        clamp: None,
        modules: Some(["mlp.gate", "mlp.experts"]),
        stacked: None,
        are_parameters: true,
        count: (&["num_local_experts", "num_experts"], 8),
        chosen: 2,
        width: ("intermediate_size", 14_336),
        router_aux_loss: 0.001,
        scores: Scores::Softmax,
        choice_bias: None,
        normalised: Normalised::Always,
        scaled: false,
        shared: None,
        own_width_key: false,
        layers: ExpertLayers::All,
    }),
    json: JsonFacts {
        intermediate_size: 14_336,
        num_key_value_heads: Some(8),
        max_position_embeddings: 131_072,
        norm_eps: ("rms_norm_eps", 1e-5),
        rope_theta: 1_000_000.0,
        bos: Some(1),
        eos: &[2],
        sliding: Sliding::All(None),
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        unloaded: &[],
        architecture: "llama",
        permuted: true,
        windows: GgufWindows::Unapplied,
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        Published {
            experts: Some(two_of_8(14_336)),
            ..published("mixtral-8x7b", [32_000, 4096, 14_336], 32, [32, 8, 128], false)
        },
        Published {
            experts: Some(two_of_8(16_384)),
            ..published("mixtral-8x22b", [32_000, 6144, 16_384], 56, [48, 8, 128], false)
        },
    ],
    ..PLAIN
};

const fn two_of_8(width: usize) -> Experts {
    Experts::of([8, 2, width])
}
