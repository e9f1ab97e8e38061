//! Families: config.json's layers and rotary embeddings, names of weights, and the way through GGUF.
use crate::golden;
use crate::support::{config_with, keep, model};
use lora_checkpoint::{
    Checkpoint, Error, Family, GgufDtype, ModelConfig, Norm, Projection, RopeScaling, SaveDtype,
    gguf, save_folder, save_gguf,
};
use serde_json::{Value, json};

fn parse(config: &Value) -> Result<ModelConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    ModelConfig::from_json(&path).map_err(|e| e.to_string())
}

fn windows(config: &Value) -> Vec<Option<usize>> {
    parse(config)
        .unwrap()
        .layers
        .iter()
        .map(|l| l.window)
        .collect()
}

fn ropes(config: &Value) -> Vec<Option<usize>> {
    parse(config)
        .unwrap()
        .layers
        .iter()
        .map(|l| l.rope)
        .collect()
}

/// rope.json was written by tests/oracle/make_rope.py.
#[test]
fn rotary_frequencies_are_those_of_transformers() {
    let fixture = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/rope.json"
    ))
    .unwrap();
    let fixture: Value = serde_json::from_str(&fixture).unwrap();
    let rows = fixture["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 11);
    for row in rows {
        let rope = &parse(&row["config"]).unwrap().ropes[0];
        let length = row["length"].as_u64().unwrap() as usize;
        let found = rope.inverse_frequencies(rope.variant(length));
        let expected: Vec<f64> = row["frequencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f.as_f64().unwrap())
            .collect();
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!(
                (f64::from(*a) / b - 1.0).abs() < 1e-6,
                "{rope:?} at {length}: {found:?} instead of {expected:?}"
            );
        }
        assert!(
            (rope.attention_factor() / row["factor"].as_f64().unwrap() - 1.0).abs() < 1e-6,
            "{rope:?}"
        );
    }
}

#[test]
fn layers_slide_and_rotate_as_the_family_says() {
    let of = |model_type: &str, more: Value| {
        let mut config =
            json!({"model_type": model_type, "num_hidden_layers": 6, "sliding_window": 8});
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        config
    };
    let all = |window| vec![window; 6];
    assert_eq!(windows(&of("llama", json!({}))), all(None));
    assert_eq!(windows(&of("mistral", json!({}))), all(Some(8)));
    assert_eq!(
        windows(&of("mistral", json!({"sliding_window": null}))),
        all(None)
    );
    assert_eq!(
        windows(&json!({"model_type": "mistral", "num_hidden_layers": 1})),
        [Some(4096)]
    );
    assert_eq!(windows(&of("phi3", json!({}))), all(Some(8)));
    assert_eq!(
        windows(&of("qwen2", json!({"max_window_layers": 4}))),
        all(None)
    );
    let late = [None, None, None, None, Some(8), Some(8)];
    assert_eq!(
        windows(&of(
            "qwen3",
            json!({"use_sliding_window": true, "max_window_layers": 4})
        )),
        late
    );
    let alternating = [Some(8), None, Some(8), None, Some(8), None];
    assert_eq!(windows(&of("gemma2", json!({}))), alternating);
    assert_eq!(
        windows(&of("gemma3_text", json!({}))),
        [Some(8), Some(8), Some(8), Some(8), Some(8), None]
    );
    assert_eq!(
        windows(&of("gemma3_text", json!({"sliding_window_pattern": 2}))),
        alternating
    );
    assert_eq!(
        ropes(&of("gemma3_text", json!({"sliding_window_pattern": 3})))[1..3],
        [Some(1), Some(0)]
    );
    assert_eq!(
        ropes(&of("smollm3", json!({})))[2..5],
        [Some(0), None, Some(0)]
    );
    assert_eq!(
        ropes(&of(
            "smollm3",
            json!({"no_rope_layers": [0, 1, 1, 1, 1, 0]})
        ))[..2],
        [None, Some(0)]
    );
    let slides = json!({"use_sliding_window": true});
    assert_eq!(
        windows(&of("smollm3", slides)),
        [None, None, None, Some(8), None, None]
    );
    let but_fourth = [Some(8), Some(8), Some(8), None, Some(8), Some(8)];
    assert_eq!(windows(&of("olmo3", json!({}))), but_fourth);
    assert_eq!(ropes(&of("olmo3", json!({})))[2..4], [Some(1), Some(0)]);
    assert_eq!(windows(&of("exaone4", json!({}))), but_fourth);
    assert_eq!(ropes(&of("exaone4", json!({})))[2..4], [Some(0), None]);
    assert_eq!(
        windows(&of("exaone4", json!({"sliding_window_pattern": 2}))),
        alternating
    );
    // As published: the pattern is a text beside the list that says the same.
    let types = |kind: &str| json!([kind, kind, kind, kind, kind, kind]);
    let full = json!({"sliding_window_pattern": "LLLG", "layer_types": types("full_attention")});
    assert_eq!(ropes(&of("exaone4", full)), all(None));
    let small = json!({"sliding_window": null, "sliding_window_pattern": null,
        "layer_types": types("full_attention")});
    assert_eq!(ropes(&of("exaone4", small)), all(Some(0)));
}

#[test]
fn rotary_parameters_of_one_family_are_refused_in_others() {
    let alpha = json!({"type": "dynamic", "alpha": 1000.0, "factor": 1.0, "mscale": 1.0});
    let hunyuan = json!({"model_type": "hunyuan_v1_dense", "head_dim": 128, "use_qk_norm": true,
        "use_cla": false, "rope_theta": 10000.0, "rope_scaling": alpha});
    let rope = &parse(&hunyuan).unwrap().ropes[0];
    assert!((rope.theta - 11_158_839.925).abs() < 1e-3, "{rope:?}");
    assert_eq!(rope.scaling, RopeScaling::None);
    let growing = json!({"rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "mscale": 1.0,
        "mscale_all_dim": 1.0, "original_max_position_embeddings": 16384, "llama_4_scaling_beta": 0.1});
    let ministral3 = json!({"model_type": "ministral3", "rope_parameters": growing});
    let ministral3 = parse(&ministral3).unwrap();
    assert_eq!(ministral3.layers[0].rope, Some(0));
    assert_eq!(ministral3.query_rope(0), Some(1));
    let [keys, queries] = &ministral3.ropes[..] else {
        panic!("{:?}", ministral3.ropes)
    };
    let factors = [0, 16_383, 16_384, 50_000].map(|p| (keys.factor(p), queries.factor(p)));
    let grown = [0.0, 0.0, 2f64.ln(), 4f64.ln()].map(|ln| (1.0, 1.0 + 0.1 * ln));
    for ((a, b), (c, d)) in factors.iter().zip(&grown) {
        assert!((a - c).abs() < 1e-12 && (b - d).abs() < 1e-12);
    }
    let refused = [
        (
            json!({"model_type": "llama", "rope_scaling": alpha}),
            "alpha is 1000",
        ),
        (
            json!({"model_type": "mistral", "rope_parameters": growing}),
            "llama_4_scaling_beta is 0.1",
        ),
        (
            json!({"model_type": "ministral3"}),
            "needs llama_4_scaling_beta",
        ),
        (
            json!({"model_type": "hunyuan_v1_dense", "use_qk_norm": false}),
            "use_qk_norm is false",
        ),
        (
            json!({"model_type": "hunyuan_v1_dense", "use_cla": true}),
            "use_cla is true",
        ),
        (
            json!({"model_type": "olmo3", "rope_parameters": {"rope_theta": 5e5}}),
            "rope_parameters has rope_theta",
        ),
        (
            json!({"model_type": "olmo3", "rope_theta": 10000.0}),
            "gives them 500000",
        ),
    ];
    for (config, message) in refused {
        let error = parse(&config).unwrap_err();
        assert!(error.contains(message), "{error} should contain {message}");
    }
}

#[test]
fn gemma_3_has_two_bases_in_both_spellings() {
    let new = json!({"model_type": "gemma3_text", "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0}}});
    let old = json!({"model_type": "gemma3_text", "rope_theta": 500000.0, "rope_local_base_freq": 20000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    let (new, old) = (parse(&new).unwrap(), parse(&old).unwrap());
    assert_eq!(new.ropes, old.ropes);
    assert_eq!(
        (new.ropes[0].theta, new.ropes[1].theta),
        (500_000.0, 20_000.0)
    );
    assert_eq!(new.ropes[0].scaling, RopeScaling::Linear { factor: 8.0 });
    let defaults = parse(&json!({"model_type": "gemma3_text"})).unwrap();
    assert_eq!(
        (defaults.ropes[0].theta, defaults.ropes[1].theta),
        (1_000_000.0, 10_000.0)
    );
}

#[test]
fn names_and_shapes_follow_the_family() {
    let shape = |config: &ModelConfig, name: &str| {
        config
            .weights()
            .into_iter()
            .find(|(n, _)| n == &format!("model.layers.1.{name}"))
            .map(|(_, shape)| shape)
    };
    let config = |model_type: &str| {
        parse(&config_with(
            json!({"model_type": model_type, "sliding_window": 8}),
        ))
        .unwrap()
    };
    let phi3 = config("phi3");
    assert_eq!(
        shape(&phi3, "self_attn.qkv_proj.weight"),
        Some(vec![4 * 16 + 2 * 2 * 16, 64])
    );
    assert_eq!(shape(&phi3, "mlp.gate_up_proj.weight"), Some(vec![192, 64]));
    assert_eq!(phi3.facts().linear_of(Projection::Up), Projection::GateUp);
    let gemma3 = json!({"model_type": "gemma3_text", "rope_parameters": null});
    let gemma3 = parse(&config_with(gemma3)).unwrap();
    assert_eq!(shape(&gemma3, "self_attn.q_norm.weight"), Some(vec![16]));
    assert_eq!(
        gemma3.norm_path(0, Norm::MlpInput).unwrap(),
        "model.layers.0.pre_feedforward_layernorm"
    );
    let (qwen2, qwen3) = (config("qwen2"), config("qwen3"));
    assert_eq!(shape(&qwen2, "self_attn.k_proj.bias"), Some(vec![32]));
    assert_eq!(shape(&qwen2, "self_attn.o_proj.bias"), None);
    assert_eq!(shape(&qwen3, "self_attn.k_proj.bias"), None);
    assert!(shape(&qwen3, "self_attn.k_norm.weight").is_some());
}

/// Configs that llama.cpp can hold, one a family.
pub fn storable() -> Vec<Value> {
    let of = |model_type: &str, more: Value| {
        let mut config =
            config_with(json!({"model_type": model_type, "max_position_embeddings": 64}));
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        config
    };
    let yarn = json!({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16,
        "attention_factor": 1.5, "beta_fast": 16.0});
    let longrope = json!({"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
        "short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": [2.0, 3.0, 4.0, 8.0], "attention_factor": 1.25});
    let gemma3 = json!({"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}});
    vec![
        of(
            "llama",
            json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
        ),
        of(
            "mistral",
            json!({"sliding_window": 8, "tie_word_embeddings": false}),
        ),
        of("qwen2", json!({"rope_parameters": yarn})),
        of(
            "qwen3",
            json!({"tie_word_embeddings": true, "attention_bias": true}),
        ),
        of(
            "gemma2",
            json!({"sliding_window": 8, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 20.0,
            "tie_word_embeddings": true}),
        ),
        of(
            "gemma3_text",
            json!({"sliding_window": 8, "query_pre_attn_scalar": 16, "rope_parameters": gemma3,
            "num_hidden_layers": 7, "tie_word_embeddings": true}),
        ),
        of(
            "phi3",
            json!({"rope_parameters": longrope, "original_max_position_embeddings": 16, "sliding_window": 8}),
        ),
        of("smollm3", json!({"num_hidden_layers": 5})),
        of("gemma", json!({"tie_word_embeddings": true})),
        of(
            "granite",
            json!({"embedding_multiplier": 12.0, "attention_multiplier": 0.015625, "residual_multiplier": 0.22,
            "logits_scaling": 8.0, "attention_bias": true, "mlp_bias": true}),
        ),
        of("glm4", json!({"partial_rotary_factor": 0.5})),
        of("ernie4_5", json!({"tie_word_embeddings": false})),
        of(
            "helium",
            json!({"attention_bias": true, "mlp_bias": true, "head_dim": 16}),
        ),
        of("seed_oss", json!({"attention_out_bias": true})),
        of("olmo2", json!({})),
        of(
            "olmo3",
            json!({"num_hidden_layers": 5, "sliding_window": 8, "rope_parameters": {
            "full_attention": yarn, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}),
        ),
        of(
            "exaone4",
            json!({"num_hidden_layers": 64, "sliding_window": 8}),
        ),
        of(
            "ministral3",
            json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "mscale": 1.0,
            "mscale_all_dim": 1.0, "original_max_position_embeddings": 16, "llama_4_scaling_beta": 0.25}}),
        ),
        of(
            "hunyuan_v1_dense",
            json!({"rope_scaling": {"type": "dynamic", "alpha": 1.0, "factor": 1.0}, "attention_bias": true}),
        ),
        of("ministral", json!({"sliding_window": 8})),
        of(
            "qwen3_moe",
            json!({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": true}),
        ),
        of(
            "olmoe",
            json!({"num_experts": 4, "num_experts_per_tok": 2, "rms_norm_eps": 2e-5}),
        ),
        of(
            "mixtral",
            json!({"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8}),
        ),
        of(
            "gpt_oss",
            json!({"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8, "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 150000.0, "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
            "original_max_position_embeddings": 64}}),
        ),
        of(
            "granitemoe",
            json!({"num_local_experts": 4, "num_experts_per_tok": 2, "attention_bias": true,
            "embedding_multiplier": 12.0, "attention_multiplier": 0.25, "residual_multiplier": 0.22, "logits_scaling": 8.0}),
        ),
        of(
            "granitemoeshared",
            json!({"num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 40, "attention_bias": true,
            "attention_multiplier": 0.25, "residual_multiplier": 0.22}),
        ),
        of(
            "starcoder2",
            json!({"tie_word_embeddings": true, "norm_epsilon": 2e-5}),
        ),
        of(
            "apertus",
            json!({"rope_parameters": {"rope_type": "linear", "rope_theta": 12000000.0, "factor": 2.0}}),
        ),
        of(
            "qwen3_5_text",
            json!({"num_hidden_layers": 5, "linear_num_key_heads": 2, "linear_num_value_heads": 6, "linear_key_head_dim": 8,
            "linear_value_head_dim": 16, "full_attention_interval": 2, "attention_bias": true}),
        ),
        of(
            "lfm2",
            json!({"num_hidden_layers": 5, "layer_types": ["conv", "full_attention", "conv", "conv", "full_attention"],
            "conv_L_cache": 4, "norm_eps": 2e-5, "block_multiple_of": 8, "tie_word_embeddings": true}),
        ),
        of(
            "lfm2_moe",
            json!({"num_hidden_layers": 4, "layer_types": ["conv", "full_attention", "conv", "full_attention"],
            "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "num_dense_layers": 1,
            "norm_eps": 2e-5}),
        ),
        of(
            "granitemoehybrid",
            json!({"num_hidden_layers": 5, "layer_types": ["mamba", "attention", "mamba", "mamba", "attention"],
            "num_local_experts": 0, "shared_intermediate_size": 72, "mamba_n_heads": 8, "mamba_n_groups": 2,
            "mamba_d_state": 12, "mamba_d_conv": 3, "attention_multiplier": 0.3, "residual_multiplier": 0.22}),
        ),
        of(
            "granitemoehybrid",
            json!({"layer_types": vec!["attention"; 3], "num_local_experts": 0, "mamba_n_heads": 16,
            "position_embedding_type": "rope", "attention_bias": true, "tie_word_embeddings": true}),
        ),
        of(
            "granitemoehybrid",
            json!({"num_hidden_layers": 4, "layer_types": ["mamba", "attention", "mamba", "attention"],
            "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 40, "mamba_n_heads": 8,
            "mamba_d_state": 12, "residual_multiplier": 0.22}),
        ),
        of(
            "granitemoehybrid",
            json!({"layer_types": vec!["attention"; 3], "num_local_experts": 4, "num_experts_per_tok": 3,
            "shared_intermediate_size": 56, "mamba_n_heads": 16, "tie_word_embeddings": true}),
        ),
        of(
            "falcon_h1",
            json!({"mamba_d_ssm": 96, "mamba_n_heads": 6, "mamba_n_groups": 2, "mamba_d_state": 12, "mamba_d_conv": 3,
            "mamba_rms_norm": true, "mamba_norm_before_gate": false, "mlp_bias": true}),
        ),
        of(
            "falcon_h1",
            json!({"mamba_d_ssm": null, "mamba_n_heads": 8, "tie_word_embeddings": true, "mamba_d_state": 8}),
        ),
        of(
            "cohere2",
            json!({"num_hidden_layers": 5, "sliding_window": 8, "tie_word_embeddings": true, "logit_scale": 0.25,
            "layer_norm_eps": 2e-5}),
        ),
        of(
            "gemma4_text",
            json!({"num_hidden_layers": 6, "sliding_window": 8, "global_head_dim": 24, "num_global_key_value_heads": 1,
            "attention_k_eq_v": true, "num_kv_shared_layers": 2, "use_double_wide_mlp": true, "hidden_size_per_layer_input": 6,
            "vocab_size_per_layer_input": 300, "final_logit_softcapping": 30.0, "rope_parameters": null,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention",
                "sliding_attention", "full_attention"]}),
        ),
    ]
}

#[test]
fn every_family_goes_through_gguf_and_back() {
    let configs = storable();
    let named: std::collections::BTreeSet<String> = configs
        .iter()
        .map(|config| config["model_type"].to_string())
        .collect();
    assert_eq!(named.len(), Family::all().count());
    for config in configs {
        let (dir, source) = model(&config);
        let path = dir.path().join("m.gguf");
        save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap();
        let stored = Checkpoint::open(&path).unwrap();
        let mut expected = source.config().clone();
        if config["model_type"] == "ministral" {
            expected.family = Family::of_model_type("mistral").unwrap(); // GGUF has no name of its own for it
        }
        same_config(stored.config(), &expected);
        same_weights(&stored, &source);
        let back = dir.path().join("back");
        std::fs::create_dir(&back).unwrap();
        save_folder(&back, &stored, SaveDtype::F32, |_, _, _| Ok::<_, Error>(())).unwrap();
        let written: Value =
            serde_json::from_slice(&std::fs::read(back.join("config.json")).unwrap()).unwrap();
        let scalar = &written["query_pre_attn_scalar"];
        assert!(
            scalar.is_null() || scalar.is_u64(),
            "transformers wants a whole number, not {scalar}"
        );
        let back = Checkpoint::open(&back).unwrap();
        same_config(back.config(), stored.config());
        same_weights(&back, &stored);
    }
}

/// Equal but for the rounding to f32 that GGUF does.
fn same_config(a: &ModelConfig, b: &ModelConfig) {
    let narrow = |config: &ModelConfig| {
        let mut config = config.clone();
        config.norm_eps = f64::from(config.norm_eps as f32);
        for rope in &mut config.ropes {
            let (frequencies, factor) = (
                [0, 1].map(|v| rope.inverse_frequencies(v)),
                rope.attention_factor() as f32,
            );
            rope.scaling = RopeScaling::Factors(
                [&frequencies[0][..], &frequencies[1][..], &[factor]].concat(),
            );
        }
        config
    };
    assert_eq!(narrow(a), narrow(b));
}

fn same_weights(a: &Checkpoint, b: &Checkpoint) {
    assert_eq!(a.tensor_names(), b.tensor_names());
    for name in a.tensor_names() {
        let (a, b) = (
            a.tensor(&name).unwrap().to_f32(),
            b.tensor(&name).unwrap().to_f32(),
        );
        // Gemma's norms are stored plus one.
        assert!(
            a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 2e-7),
            "{name}"
        );
    }
}

#[test]
fn rows_are_permuted_where_llama_cpp_wants_it() {
    for (case, permuted) in [
        ("llama_gqa_tied", true),
        ("mistral_sharded_bf16", true),
        ("smollm3_nope", true),
        ("qwen2_bias_all_linear", false),
        ("helium_pairs", false),
        ("gemma3_text", false),
        ("phi3_fused", false),
    ] {
        let base = Checkpoint::open(&golden(format!("{case}/base"))).unwrap();
        let rows = base.config().shape(0, Projection::Q).0;
        let values: Vec<f32> = (0..rows).map(|i| i as f32).collect();
        let name = "model.layers.0.self_attn.q_proj.weight";
        assert_eq!(
            gguf::rows_in_gguf(base.config(), name, &values, 1) != values,
            permuted,
            "{case}"
        );
        assert_eq!(
            gguf::rows_in_gguf(
                base.config(),
                "model.layers.0.self_attn.o_proj.weight",
                &values,
                1
            ),
            values
        );
    }
}

#[test]
fn what_llama_cpp_computes_differently_is_refused_or_said() {
    let say = |more: Value| {
        let (dir, source) = model(&config_with(more));
        save_gguf(
            &dir.path().join("m.gguf"),
            &source,
            GgufDtype::F32,
            "m",
            keep,
        )
        .map_err(|e| e.to_string())
    };
    let llama3 = json!({"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
    let not_loaded = [
        (
            json!({"model_type": "qwen3", "attention_bias": true}),
            "bias on o_proj",
        ),
        (
            json!({"model_type": "seed_oss", "mlp_bias": true}),
            "biases in the MLP",
        ),
        (
            json!({"model_type": "olmo2", "tie_word_embeddings": true}),
            "head that is",
        ),
        (
            json!({"model_type": "olmo2", "head_dim": 32}),
            "heads that are wider",
        ),
        (
            json!({"model_type": "qwen3", "rope_parameters": llama3}),
            "rotary factors",
        ),
    ];
    for (config, what) in not_loaded {
        let said = say(config).unwrap();
        assert!(said.iter().any(|line| line.contains(what)), "{said:?}");
    }
    let loaded = say(json!({"attention_bias": true, "mlp_bias": true, "rope_parameters": llama3}));
    assert_eq!(loaded.unwrap(), Vec::<String>::new());
    let dynamic = json!({"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0});
    assert!(say(json!({"rope_parameters": dynamic})).unwrap()[0].contains("beyond 512 tokens"));
    assert!(
        say(json!({"model_type": "mistral", "sliding_window": 8})).unwrap()[0]
            .contains("beyond 8 tokens")
    );
    let odd = say(json!({"model_type": "smollm3", "no_rope_layers": [0, 1]})).unwrap_err();
    assert!(odd.contains("other layers"), "{odd}");
    let odd =
        say(json!({"model_type": "gemma2", "sliding_window": 8, "query_pre_attn_scalar": 16}))
            .unwrap_err();
    assert!(odd.contains("no head of its own"), "{odd}");
    let odd =
        say(json!({"model_type": "gemma2", "sliding_window": 8, "tie_word_embeddings": true}))
            .unwrap_err();
    assert!(odd.contains("query_pre_attn_scalar 16"), "{odd}");
    let bases =
        json!({"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 5e4}});
    let odd = say(
        json!({"model_type": "gemma3_text", "sliding_window": 8, "query_pre_attn_scalar": 16,
        "rope_parameters": bases}),
    )
    .unwrap_err();
    assert!(odd.contains("base 10000"), "{odd}");
    let bases =
        json!({"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 5e4}});
    let odd = say(json!({"model_type": "olmo3", "sliding_window": 8, "rope_parameters": bases}))
        .unwrap_err();
    assert!(odd.contains("base 1000000"), "{odd}");
    let odd = say(json!({"model_type": "exaone4", "num_hidden_layers": 4, "sliding_window": 8}))
        .unwrap_err();
    assert!(odd.contains("other layers"), "{odd}");
    let odd = say(
        json!({"model_type": "exaone4", "num_hidden_layers": 64, "sliding_window": null,
        "layer_types": vec!["full_attention"; 64]}),
    )
    .unwrap_err();
    assert!(odd.contains("no sliding window"), "{odd}");
}
