//! Layers that slide, and rotary embeddings, as config.json has them.
use crate::support::parse;
use lora_checkpoint::RopeScaling;
use serde_json::{Value, json};

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
