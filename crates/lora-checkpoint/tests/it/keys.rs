//! Keys that mean something elsewhere alone, or nothing: refused or said.
use crate::absent::plain;
use crate::support::{config_with, keep, model};
use lora_checkpoint::{GgufDtype, ModelConfig, save_gguf};
use lora_testkit::Told as _;
use serde_json::{Value, json};

/// Gemma 2 without soft caps: readers of GGUF take 50 and 30 where the keys are missing.
#[test]
fn what_readers_take_for_a_missing_key_is_not_left_to_them() {
    for (key, default) in [
        ("attn_logit_softcapping", "50"),
        ("final_logit_softcapping", "30"),
    ] {
        let mut config = plain("gemma2");
        config[key] = Value::Null;
        let (dir, source) = model(&config);
        let path = dir.path().join("m.gguf");
        let error = save_gguf(&path, &source, GgufDtype::F32, "m", keep)
            .unwrap_err()
            .told();
        assert!(
            error.contains(key) && error.contains(default) && error.contains("--format hf"),
            "{error}"
        );
        assert!(!path.exists());
    }
}

#[test]
fn keys_that_another_family_reads_are_refused_unless_they_mean_nothing() {
    let parse = |change: &Value| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config_with(change.clone()).to_string()).unwrap();
        ModelConfig::from_json(&path).map_err(|e| e.told())
    };
    let cases = [
        json!({"model_type": "mistral", "attention_bias": true}),
        json!({"model_type": "qwen2", "mlp_bias": true}),
        json!({"query_pre_attn_scalar": 64}),
        json!({"final_logit_softcapping": 30.0}),
        json!({"model_type": "gemma3_text", "attn_logit_softcapping": 50.0}),
        json!({"model_type": "gemma2", "hidden_act": "silu"}),
        json!({"hidden_activation": "gelu_pytorch_tanh"}),
        json!({"layer_types": ["sliding_attention", "full_attention"]}),
        json!({"no_rope_layers": [1, 0]}),
        json!({"embedding_multiplier": 12.0}),
        json!({"residual_multiplier": 0.22}),
        json!({"attention_multiplier": 0.5}),
        json!({"logits_scaling": 8.0}),
        json!({"key_multiplier": 0.5}),
        json!({"ssm_multipliers": [1.0, 0.5]}),
        json!({"projectors_bias": true}),
        json!({"num_local_experts": 8}),
        json!({"use_qk_norm": true}),
        json!({"use_mrope": true}),
        json!({"clip_qkv": 8.0}),
        json!({"rope_scaling": {"rope_type": "default", "mrope_section": [1, 2]}}),
    ];
    for change in cases {
        let error = parse(&change).expect_err(&change.to_string());
        assert!(
            error.contains("transformers would ignore it\nhint:"),
            "{change}: {error}"
        );
    }
    let neutral = json!({"query_pre_attn_scalar": null, "embedding_multiplier": 1.0, "num_local_experts": 0, "use_mrope": false,
        "mlp_multipliers": [1.0, 1.0], "key_multiplier": 1, "layer_types": ["full_attention", "full_attention"], "no_rope_layers": [1, 1], "hidden_activation": "silu"});
    parse(&neutral).unwrap();
}

#[test]
fn dropout_of_the_base_is_said() {
    let (_dir, source) = model(&config_with(json!({"attention_dropout": 0.1})));
    assert_eq!(source.notes().len(), 1);
    assert!(
        source.notes()[0].contains("attention_dropout 0.1"),
        "{:?}",
        source.notes()
    );
    let (_dir, source) = model(&config_with(json!({"attention_dropout": 0.0})));
    assert!(source.notes().is_empty());
}
