//! Every family goes through GGUF and back.
use crate::families::storable;
use crate::golden;
use crate::support::{config_with, keep, model};
use lora_checkpoint::{
    Checkpoint, Error, Family, GgufDtype, ModelConfig, Projection, RopeScaling, SaveDtype, gguf,
    save_folder, save_gguf,
};
use serde_json::{Value, json};

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
