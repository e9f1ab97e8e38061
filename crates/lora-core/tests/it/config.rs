//! adapter_config.json: what is read, refused, carried and written.
use crate::support::{CASES, Told, golden, list, small};
use lora_core::{LoraConfig, TargetModules};
use serde_json::{Map, Value, json};

fn load(fields: Value) -> Result<LoraConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter_config.json");
    std::fs::write(&path, fields.to_string()).unwrap();
    LoraConfig::load(&path).map_err(|e| e.told())
}

fn with(key: &str, value: Value) -> Result<LoraConfig, String> {
    let mut fields = json!({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "target_modules": ["q_proj"]});
    fields[key] = value;
    load(fields)
}

#[test]
fn golden_configs_are_read() {
    let config = LoraConfig::load(&golden(CASES[0]).join("adapter/adapter_config.json")).unwrap();
    assert_eq!(
        (config.r, config.lora_alpha, config.use_rslora),
        (8, 16.0, false)
    );
    assert_eq!(config.extra, Map::new());
    let config = LoraConfig::load(&golden(CASES[1]).join("adapter/adapter_config.json")).unwrap();
    assert_eq!(
        (config.r, config.lora_alpha, config.use_rslora),
        (4, 8.0, true)
    );
    assert_eq!(config.target_modules, list(&["q_proj", "v_proj"]));
}

/// PEFT writes targets in random order; ours are sorted. All else is equal to the byte.
#[test]
fn what_we_write_is_what_peft_writes() {
    let (_, adapter) = small();
    for case in CASES {
        let theirs = golden(case).join("adapter/adapter_config.json");
        let config = LoraConfig::load(&theirs).unwrap();
        let dir = tempfile::tempdir().unwrap();
        lora_core::Adapter {
            config,
            ..adapter.clone()
        }
        .save(dir.path())
        .unwrap();
        let ours = std::fs::read_to_string(dir.path().join("adapter_config.json")).unwrap();
        let theirs = std::fs::read_to_string(theirs).unwrap();
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text
                .lines()
                .map(|l| l.trim_end_matches(',').to_string())
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&ours), sorted(&theirs));
        assert_eq!(ours.lines().count(), theirs.lines().count());
        let keys: Map<String, Value> = serde_json::from_str(&ours).unwrap();
        assert_eq!(keys.len(), 41);
        assert!(keys.keys().is_sorted());
    }
}

#[test]
fn defaults_stand_for_missing_keys() {
    let config = load(json!({"peft_type": "LORA"})).unwrap();
    assert_eq!(config, LoraConfig::new(8, 8.0, list(&["q_proj", "v_proj"])));
    assert_eq!(
        with("target_modules", json!("ALL-linear"))
            .unwrap()
            .target_modules,
        TargetModules::AllLinear
    );
    assert_eq!(
        with("target_modules", json!(".*q_proj"))
            .unwrap()
            .target_modules,
        TargetModules::Regex(".*q_proj".into())
    );
}

#[test]
fn active_options_that_we_lack_are_refused_by_name_and_value() {
    let options = [
        ("layer_replication", json!([[0, 1]])),
        ("fan_in_fan_out", json!(true)),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
        ("loftq_config", json!({"loftq_bits": 4})),
        ("use_qalora", json!(true)),
        ("alora_invocation_tokens", json!([1, 2])),
        ("init_lora_weights", json!("lora_ga")),
        ("init_lora_weights", json!("mica")),
        ("arrow_config", json!({"top_k": 3})),
        ("corda_config", json!({"rank": 4})),
        ("kasa_config", json!({"beta": 1})),
        ("lora_ga_config", json!({"batch": 2})),
        ("megatron_config", json!({"tensor": 2})),
        ("monteclora_config", json!({"samples": 2})),
        ("use_bdlora", json!({"nblocks": 2})),
        ("velora_config", json!({"groups": 2})),
    ];
    for (key, value) in options {
        let message = with(key, value.clone()).unwrap_err();
        assert!(message.contains(&format!("`{key}: {value}`")), "{message}");
    }
}

/// Every option that is honoured is read, and written back as it was.
#[test]
fn options_survive_a_round_trip() {
    let options = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 2.5, "lora_dropout": 0.1,
        "target_modules": ["q_proj", "v_proj"], "use_rslora": true, "use_dora": true, "bias": "lora_only",
        "exclude_modules": ["layers.0.mlp"], "layers_to_transform": [1, 2], "layers_pattern": ["layers"],
        "rank_pattern": {"v_proj": 2, "q_proj": 8, "^model": 1}, "alpha_pattern": {"q_proj": 4, "v": 0.5},
        "modules_to_save": ["lm_head"], "init_lora_weights": "gaussian", "ensure_weight_tying": true,
        "trainable_token_indices": {"lm_head": [7, 3], "embed_tokens": [3]}
    });
    let config = load(options.clone()).unwrap();
    assert_eq!(
        config.rank_pattern.keys().collect::<Vec<_>>(),
        ["v_proj", "q_proj", "^model"]
    );
    let dir = tempfile::tempdir().unwrap();
    lora_core::Adapter {
        config: config.clone(),
        ..small().1
    }
    .save(dir.path())
    .unwrap();
    let path = dir.path().join("adapter_config.json");
    assert_eq!(LoraConfig::load(&path).unwrap(), config);
    let written: Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (key, value) in options.as_object().unwrap() {
        assert_eq!(&written[key], value, "{key}");
    }
}

#[test]
fn what_peft_refuses_is_refused_with_the_reason() {
    let refused = |options: Value| {
        let mut fields = json!({"peft_type": "LORA", "target_modules": ["q_proj"]});
        fields
            .as_object_mut()
            .unwrap()
            .extend(options.as_object().unwrap().clone());
        load(fields).unwrap_err()
    };
    for (options, reason) in [
        (
            json!({"target_modules": ".*q_proj", "layers_to_transform": [1]}),
            "layers_to_transform needs a list",
        ),
        (
            json!({"target_modules": "all-linear", "layers_to_transform": 1}),
            "layers_to_transform needs a list",
        ),
        (
            json!({"target_modules": ".*q_proj", "layers_pattern": "layers"}),
            "layers_pattern needs a list",
        ),
        (
            json!({"target_modules": ".*q_proj", "layers_to_transform": []}),
            "layers_to_transform needs a list",
        ),
        (
            json!({"layers_pattern": ["layers"]}),
            "layers_pattern needs layers_to_transform",
        ),
        (
            json!({"lora_bias": true, "use_dora": true}),
            "lora_bias does not go with use_dora",
        ),
        (
            json!({"lora_bias": true, "init_lora_weights": "gaussian"}),
            "lora_bias needs init_lora_weights true or false",
        ),
        (
            json!({"rank_pattern": {"q_proj": 0}}),
            "rank_pattern `q_proj`",
        ),
    ] {
        let message = refused(options.clone());
        assert!(message.contains(reason), "{options}: {message}");
    }
}

#[test]
fn wrong_types_and_values_are_refused() {
    let wrong = [
        ("r", json!("8")),
        ("r", json!(0)),
        ("r", json!(-1)),
        ("r", json!(1.5)),
        ("r", json!(true)),
        ("lora_alpha", json!("16")),
        ("lora_alpha", json!(true)),
        ("lora_dropout", json!(1.0)),
        ("lora_dropout", json!(-0.1)),
        ("use_rslora", json!("yes")),
        ("use_dora", json!(1)),
        ("bias", json!("some")),
        ("rank_pattern", json!(["q_proj"])),
        ("rank_pattern", json!({"q_proj": 1.5})),
        ("alpha_pattern", json!({"q_proj": "4"})),
        ("layers_to_transform", json!([-1])),
        ("exclude_modules", json!([1])),
        ("modules_to_save", json!("lm_head")),
        ("init_lora_weights", json!("nonsense")),
        ("target_modules", json!([1])),
        ("target_modules", json!({})),
        ("base_model_name_or_path", json!(3)),
        ("peft_type", json!("IA3")),
        ("task_type", json!("SEQ_CLS")),
    ];
    for (key, value) in wrong {
        let message = with(key, value.clone()).unwrap_err();
        assert!(
            message.contains(key.split('_').next().unwrap()),
            "{key} {value}: {message}"
        );
    }
    assert!(load(json!({})).unwrap_err().contains("peft_type"));
    assert!(load(json!([1])).unwrap_err().contains("JSON object"));
}

#[test]
fn unknown_keys_are_carried_with_a_warning_and_known_inert_ones_silently() {
    let config = with("future_option", json!([1])).unwrap();
    assert_eq!(
        config.warnings(),
        ["unknown key `future_option: [1]` is kept but has no effect"]
    );
    assert_eq!(config.extra.len(), 1);
    for (key, value) in [
        ("revision", json!("main")),
        ("qalora_group_size", json!(32)),
        ("inference_mode", json!(false)),
    ] {
        assert!(with(key, value).unwrap().warnings().is_empty());
    }
    assert_eq!(
        with("revision", json!("main")).unwrap().extra["revision"],
        "main"
    );
}
