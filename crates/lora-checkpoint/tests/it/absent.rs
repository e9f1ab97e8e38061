//! Absent is not none: what a format can't say is refused or said, key by key and field by field.
use crate::support::{config_with, keep, model};
use lora_checkpoint::{
    Checkpoint, Error, Factors, Family, GgufDtype, ModelConfig, SaveDtype, save_folder, save_gguf,
};
use lora_testkit::Told as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A model of every family that GGUF can hold.
pub(crate) fn plain(family: &str) -> Value {
    let own = match family {
        "gemma2" => {
            json!({"sliding_window": 8, "query_pre_attn_scalar": 16, "tie_word_embeddings": true})
        }
        "gemma3_text" => json!({"sliding_window": 8, "query_pre_attn_scalar": 16}),
        "gemma4_text" => {
            json!({"sliding_window": 8, "global_head_dim": 32, "hidden_size_per_layer_input": 4,
            "vocab_size_per_layer_input": 300})
        }
        "qwen3_moe" => {
            json!({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
            "norm_topk_prob": true})
        }
        "mixtral" | "granitemoe" | "gpt_oss" => {
            json!({"num_local_experts": 4, "num_experts_per_tok": 2})
        }
        "granitemoeshared" => {
            json!({"num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 40})
        }
        "olmoe" => json!({"num_experts": 4, "num_experts_per_tok": 2}),
        "mistral" | "olmo3" => json!({"sliding_window": 8}),
        "qwen3_5_text" => {
            json!({"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8})
        }
        "granitemoehybrid" => {
            json!({"num_local_experts": 0, "mamba_n_heads": 8, "mamba_d_state": 8, "shared_intermediate_size": 40,
            "layer_types": ["mamba", "attention", "mamba", "mamba", "attention", "mamba", "mamba"]})
        }
        "falcon_h1" => {
            json!({"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_state": 8})
        }
        "lfm2_moe" => {
            json!({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "tie_word_embeddings": true,
            "layer_types": ["conv", "full_attention", "conv", "full_attention", "conv", "conv", "conv"]})
        }
        "lfm2" => json!({"full_attn_idxs": [1, 3], "tie_word_embeddings": true}),
        "cohere2" => json!({"sliding_window": 8, "tie_word_embeddings": true}),
        "ministral3" => {
            json!({"rope_parameters": {"rope_theta": 10000.0, "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 512}})
        }
        _ => json!({}),
    };
    let mut all = json!({"model_type": family, "num_hidden_layers": 4});
    all.as_object_mut()
        .unwrap()
        .extend(own.as_object().unwrap().clone());
    let mut config = config_with(all);
    if ["gemma3_text", "gemma4_text", "olmo3"].contains(&family) {
        config.as_object_mut().unwrap().remove("rope_parameters");
    }
    config
}

/// For each field of [`ModelConfig`] keys of config.json that change it.
fn changes() -> Vec<(&'static str, Value)> {
    let rope = |more: Value| {
        let mut rope = json!({"rope_theta": 10000.0});
        rope.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"rope_parameters": rope})
    };
    let kinds = |kind: &str| json!({"layer_types": vec![kind; 4]});
    vec![
        ("nothing", json!({})),
        ("vocab_size", json!({"vocab_size": 310})),
        ("hidden_size", json!({"hidden_size": 32})),
        ("intermediate_size", json!({"intermediate_size": 64})),
        ("num_hidden_layers", json!({"num_hidden_layers": 7})),
        ("num_attention_heads", json!({"num_attention_heads": 2})),
        ("num_key_value_heads", json!({"num_key_value_heads": 1})),
        ("head_dim", json!({"head_dim": 8})),
        ("rms_norm_eps", json!({"rms_norm_eps": 3e-4})),
        (
            "ropes",
            json!({"rope_theta": 777.0, "rope_parameters": null}),
        ),
        ("ropes", rope(json!({"rope_theta": 777.0}))),
        ("ropes", rope(json!({"rope_type": "linear", "factor": 4.0}))),
        (
            "ropes",
            rope(json!({"rope_type": "dynamic", "factor": 4.0})),
        ),
        (
            "ropes",
            rope(
                json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
            ),
        ),
        (
            "ropes",
            rope(
                json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "truncate": false}),
            ),
        ),
        (
            "ropes",
            rope(
                json!({"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.7, "beta_fast": 20.0}),
            ),
        ),
        (
            "ropes",
            rope(
                json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64}),
            ),
        ),
        (
            "ropes",
            rope(
                json!({"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0],
                "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], "original_max_position_embeddings": 64}),
            ),
        ),
        ("ropes", json!({"partial_rotary_factor": 0.5})),
        ("layers", json!({"sliding_window": null})),
        (
            "layers",
            json!({"sliding_window": null, "layer_types": vec!["full_attention"; 4]}),
        ),
        (
            "layers",
            json!({"sliding_window": 16, "use_sliding_window": true, "max_window_layers": 2}),
        ),
        ("layers", kinds("full_attention")),
        ("layers", kinds("sliding_attention")),
        ("layers", json!({"no_rope_layers": [0, 1, 1, 1]})),
        (
            "query_pre_attn_scalar",
            json!({"query_pre_attn_scalar": 99}),
        ),
        ("attention_softcap", json!({"attn_logit_softcapping": 7.5})),
        ("attention_softcap", json!({"attn_logit_softcapping": null})),
        ("logit_softcap", json!({"final_logit_softcapping": 7.5})),
        ("logit_softcap", json!({"final_logit_softcapping": null})),
        ("tie_word_embeddings", json!({"tie_word_embeddings": true})),
        ("tie_word_embeddings", json!({"tie_word_embeddings": false})),
        (
            "max_position_embeddings",
            json!({"max_position_embeddings": 1000}),
        ),
        ("biases", json!({"attention_bias": true})),
        ("biases", json!({"use_bias": false})),
        ("multipliers", json!({"logit_scale": 0.5})),
        ("biases", json!({"mlp_bias": true})),
        ("experts", json!({"num_experts": 3})),
        ("experts", json!({"num_local_experts": 3})),
        ("experts", json!({"num_experts_per_tok": 1})),
        ("experts", json!({"moe_intermediate_size": 16})),
        ("experts", json!({"norm_topk_prob": false})),
        ("experts", json!({"norm_topk_prob": true})),
        ("experts", json!({"use_expert_bias": false})),
        ("experts", json!({"routed_scaling_factor": 2.0})),
        ("layers", json!({"num_dense_layers": 0})),
        ("layers", json!({"num_dense_layers": 3})),
        ("layers", json!({"position_embedding_type": "rope"})),
        ("layers", json!({"position_embedding_type": "nope"})),
        ("intermediate_size", json!({"shared_intermediate_size": 24})),
        ("mamba", json!({"mamba_d_state": 12})),
        ("mamba", json!({"mamba_n_heads": 16, "mamba_n_groups": 4})),
        ("mamba", json!({"mamba_expand": 3})),
        ("mamba", json!({"mamba_conv_bias": false})),
        ("mamba", json!({"time_step_limit": [0.1, 0.5]})),
        (
            "mamba",
            json!({"mamba_rms_norm": true, "mamba_norm_before_gate": false}),
        ),
        ("mamba", json!({"mamba_rms_norm": true})),
        ("mamba", json!({"mamba_d_ssm": 32})),
        ("biases", json!({"mamba_proj_bias": true})),
        ("biases", json!({"projectors_bias": true})),
        ("factors", json!({"key_multiplier": 0.5})),
        ("factors", json!({"attention_in_multiplier": 0.5})),
        ("factors", json!({"attention_out_multiplier": 0.5})),
        ("factors", json!({"ssm_in_multiplier": 0.5})),
        ("factors", json!({"ssm_out_multiplier": 0.5})),
        (
            "factors",
            json!({"ssm_multipliers": [1.0, 1.0, 2.0, 1.0, 1.0]}),
        ),
        ("factors", json!({"mlp_multipliers": [0.5, 1.0]})),
        ("multipliers", json!({"embedding_multiplier": 2.0})),
        ("multipliers", json!({"lm_head_multiplier": 2.0})),
        ("layers", json!({"mlp_only_layers": [1]})),
        ("layers", json!({"decoder_sparse_step": 2})),
        ("bos_token_id", json!({"bos_token_id": null})),
        ("eos_token_ids", json!({"eos_token_id": null})),
        ("eos_token_ids", json!({"eos_token_id": [2, 0, 5, 6, 7]})),
        ("pad_token_id", json!({"pad_token_id": 5})),
    ]
}

/// Every field in every family, through both formats: refused, or said, or the same model again.
#[test]
fn no_field_is_lost_in_silence() {
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let changes = changes();
    for family in Family::all().map(|f| f.facts().model_type) {
        for (field, change) in &changes {
            let mut config = plain(family);
            for (key, value) in change.as_object().unwrap() {
                config[key] = value.clone();
            }
            *outcomes
                .entry(outcome(&config, &format!("{family} {field} {change}")))
                .or_default() += 1;
        }
    }
    let total: usize = outcomes.values().sum();
    assert_eq!(total, Family::all().count() * changes.len());
    for kind in ["not read", "refused", "said", "same", "folded"] {
        assert!(outcomes[kind] >= 8, "{outcomes:?}");
    }
}

fn outcome(config: &Value, what: &str) -> &'static str {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    if let Err(error) = ModelConfig::from_json(&path) {
        assert!(error.told().contains("hint:"), "{what}: {error}");
        return "not read";
    }
    let (dir, source) = model(config);
    let path = dir.path().join("m.gguf");
    let said = match save_gguf(&path, &source, GgufDtype::F32, "m", keep) {
        Ok(said) => said,
        Err(error) => {
            assert!(
                !error.to_string().contains("can't say what"),
                "found too late, {what}: {error}"
            );
            return "refused";
        }
    };
    let stored = Checkpoint::open(&path).unwrap();
    let back = dir.path().join("back");
    std::fs::create_dir(&back).unwrap();
    save_folder(&back, &stored, SaveDtype::F32, |_, _, _| Ok::<_, Error>(())).unwrap();
    if !said.is_empty() {
        return "said";
    }
    if source.config().has_factors() {
        assert_eq!(stored.config().factors, Factors::NONE, "{what}");
        assert!(
            !Checkpoint::open(&back).unwrap().config().has_factors(),
            "{what}"
        );
        return "folded";
    }
    for found in [stored.config(), Checkpoint::open(&back).unwrap().config()] {
        same(found, source.config(), what);
    }
    "same"
}

/// Field by field, by hand; token ids are the tokenizer's where it has some.
fn same(found: &ModelConfig, source: &ModelConfig, what: &str) {
    let (a, b) = (found, source);
    assert_eq!(
        [
            a.vocab_size,
            a.hidden_size,
            a.intermediate_size,
            a.num_hidden_layers
        ],
        [
            b.vocab_size,
            b.hidden_size,
            b.intermediate_size,
            b.num_hidden_layers
        ],
        "{what}"
    );
    assert_eq!(
        [
            a.num_attention_heads,
            a.num_key_value_heads,
            a.head_dim,
            a.max_position_embeddings
        ],
        [
            b.num_attention_heads,
            b.num_key_value_heads,
            b.head_dim,
            b.max_position_embeddings
        ],
        "{what}"
    );
    assert_eq!(a.norm_eps as f32, b.norm_eps as f32, "{what}");
    assert_eq!(a.attention_scale(), b.attention_scale(), "{what}");
    assert_eq!(a.multipliers, b.multipliers, "{what}");
    assert_eq!((a.factors, a.mamba), (b.factors, b.mamba), "{what}");
    assert_eq!(
        (a.attention_softcap, a.logit_softcap),
        (b.attention_softcap, b.logit_softcap),
        "{what}"
    );
    assert_eq!(
        (a.tie_word_embeddings, a.biases),
        (b.tie_word_embeddings, b.biases),
        "{what}"
    );
    assert_eq!(a.experts, b.experts, "{what}");
    assert_eq!(a.layers, b.layers, "{what}");
    assert_eq!(a.ropes.len(), b.ropes.len(), "{what}");
    for (a, b) in a.ropes.iter().zip(&b.ropes) {
        assert_eq!(a.dim, b.dim, "{what}");
        for length in [1, 5000] {
            let (x, y) = (
                a.inverse_frequencies(a.variant(length)),
                b.inverse_frequencies(b.variant(length)),
            );
            assert!(
                x.iter()
                    .zip(&y)
                    .all(|(x, y)| (x - y).abs() <= 1e-6 * y.abs()),
                "{what} at {length}"
            );
        }
        assert!(
            (a.attention_factor() - b.attention_factor()).abs() < 1e-6,
            "{what}"
        );
    }
    assert!(
        b.eos_token_ids
            .iter()
            .all(|id| a.eos_token_ids.contains(id)),
        "{what}"
    );
    assert_eq!(
        (a.bos_token_id, a.pad_token_id),
        (Some(1), Some(2)),
        "{what}"
    );
}
