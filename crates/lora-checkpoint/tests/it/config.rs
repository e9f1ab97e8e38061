//! config.json in its many forms.
use crate::support::{config, config_with};
use lora_checkpoint::{ModelConfig, RopeScaling};
use serde_json::{Value, json};

fn parse(config: &Value) -> Result<ModelConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    ModelConfig::from_json(&path).map_err(|e| e.to_string())
}

#[test]
fn transformers_4_and_5_say_the_same() {
    let mut old = config();
    old.as_object_mut().unwrap().remove("rope_parameters");
    old["rope_theta"] = json!(500000.0);
    old["rope_scaling"] = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let mut new = config();
    new["rope_parameters"] = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_theta": 500000.0});
    let (old, new) = (parse(&old).unwrap(), parse(&new).unwrap());
    assert_eq!(old, new);
    assert_eq!(new.ropes[0].theta, 500_000.0);
    assert!(matches!(
        new.ropes[0].scaling,
        RopeScaling::Llama3 { factor: 32.0, .. }
    ));
}

#[test]
fn absent_keys_have_transformers_defaults() {
    let parsed = parse(&json!({"model_type": "llama"})).unwrap();
    assert_eq!(
        (
            parsed.vocab_size,
            parsed.hidden_size,
            parsed.intermediate_size
        ),
        (32_000, 4096, 11_008)
    );
    assert_eq!(
        (
            parsed.num_attention_heads,
            parsed.num_key_value_heads,
            parsed.head_dim
        ),
        (32, 32, 128)
    );
    assert_eq!(
        (
            parsed.ropes[0].theta,
            parsed.norm_eps,
            parsed.max_position_embeddings
        ),
        (10_000.0, 1e-6, 2048)
    );
    assert_eq!(
        (
            parsed.bos_token_id,
            parsed.eos_token_ids,
            parsed.pad_token_id
        ),
        (Some(1), vec![2], None)
    );
    let parsed = parse(&config_with(
        json!({"num_key_value_heads": null, "head_dim": null, "eos_token_id": null}),
    ))
    .unwrap();
    assert_eq!(
        (
            parsed.num_key_value_heads,
            parsed.head_dim,
            parsed.eos_token_ids.len()
        ),
        (4, 16, 0)
    );
}

#[test]
fn generation_config_adds_its_ends() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("config.json"),
        config_with(json!({"eos_token_id": 2})).to_string(),
    )
    .unwrap();
    std::fs::write(
        dir.path().join("generation_config.json"),
        r#"{"eos_token_id": [5, 2, 9]}"#,
    )
    .unwrap();
    assert_eq!(
        ModelConfig::from_json(&dir.path().join("config.json"))
            .unwrap()
            .eos_token_ids,
        [2, 5, 9]
    );
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let cases = [
        (json!({"model_type": "mamba"}), "model_type \"mamba\""),
        (json!({"hidden_act": "gelu"}), "hidden_act \"gelu\""),
        (
            json!({"rope_parameters": {"rope_type": "proportional", "factor": 4.0}}),
            "rope_type \"proportional\"",
        ),
        (json!({"rope_scaling": {"type": "linear"}}), "needs factor"),
        (
            json!({"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}}),
            "short_factor has 1",
        ),
        (
            json!({"rope_parameters": {"rope_type": "dynamic", "factor": 0.5}}),
            "at least 1",
        ),
        (
            json!({"model_type": "gemma2", "layer_types": ["full_attention"]}),
            "layer_types has 1 entries for 2",
        ),
        (
            json!({"model_type": "gemma2", "use_bidirectional_attention": true}),
            "use_bidirectional_attention",
        ),
        (
            json!({"model_type": "gemma2", "hidden_activation": "gelu"}),
            "hidden_activation",
        ),
        (
            json!({"model_type": "gemma2", "sliding_window": null}),
            "sliding_window is null",
        ),
        (
            json!({"model_type": "mistral", "sliding_window": 0}),
            "sliding_window is 0",
        ),
        (
            json!({"model_type": "smollm3", "no_rope_layers": [1, 2]}),
            "no_rope_layers has 2",
        ),
        (
            json!({"rope_parameters": {"rope_type": "llama3"}}),
            "needs factor",
        ),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config",
        ),
        (json!({"hidden_size": 0}), "hidden_size is 0"),
        (
            json!({"hidden_size": 66, "head_dim": null}),
            "not a multiple",
        ),
        (
            json!({"num_key_value_heads": 3}),
            "not a multiple of num_key_value_heads",
        ),
        (
            json!({"num_attention_heads": 0}),
            "num_attention_heads is 0",
        ),
        (json!({"vocab_size": u64::MAX}), "vocab_size is"),
        (json!({"vocab_size": -1}), "vocab_size is -1"),
        (json!({"head_dim": 15}), "odd"),
        (json!({"head_dim": 1 << 27}), "absurdly large"),
        (
            json!({"num_hidden_layers": 1_000_000_000}),
            "num_hidden_layers",
        ),
        (json!({"rms_norm_eps": "x"}), "rms_norm_eps"),
        (
            json!({"rope_parameters": {"rope_theta": -1.0}}),
            "rope_theta is -1",
        ),
        (json!({"eos_token_id": 1.5}), "eos_token_id"),
    ];
    for (change, message) in cases {
        let error = parse(&config_with(change)).unwrap_err();
        assert!(error.contains(message), "{error} should contain {message}");
    }
}
