//! Experts beside an MLP that every token goes through: keys, names, GGUF, and what is refused.
use crate::support::{config_with, keep, model, parse};
use lora_checkpoint::gguf::{GgufFile, Value as Meta, tensors_of};
use lora_checkpoint::{Checkpoint, GgufDtype, Projection, save_gguf};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn with(own: Value, more: Value) -> Value {
    let mut all = own;
    let more = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    config_with(all)
}

/// Two layers with attention.
fn shared(more: Value) -> Value {
    let own = json!({"model_type": "granitemoeshared", "num_local_experts": 4, "num_experts_per_tok": 2,
        "shared_intermediate_size": 40});
    with(own, more)
}

/// One of Mamba-2 and one with attention.
fn hybrid(more: Value) -> Value {
    let own = json!({"model_type": "granitemoehybrid", "num_local_experts": 4, "num_experts_per_tok": 2,
        "shared_intermediate_size": 40, "layer_types": ["mamba", "attention"], "mamba_n_heads": 8, "mamba_d_state": 8});
    with(own, more)
}

#[test]
fn experts_and_mlp_have_widths_of_their_own() {
    for config in [shared(json!({})), hybrid(json!({}))] {
        let config = parse(&config).unwrap();
        let own = config.experts.unwrap();
        assert_eq!([own.count, own.chosen, own.width], [4, 2, 96]);
        assert!(own.normalised && own.shared == Some(40));
        for layer in 0..2 {
            assert!(config.has_mlp(layer));
            let widths = [config.mlp_width(layer), config.experts_width(layer)];
            assert_eq!(widths, [40, 192]);
            let linears = config.projections_of(layer);
            assert!(linears.ends_with(&[Projection::GateUp, Projection::Down]));
        }
        let weights: BTreeMap<_, _> = config.weights().into_iter().collect();
        let of = |name: &str| {
            weights
                .get(&format!("model.layers.1.{name}.weight"))
                .cloned()
        };
        assert_eq!(of("shared_mlp.input_linear"), Some(vec![80, 64]));
        assert_eq!(of("shared_mlp.output_linear"), Some(vec![64, 40]));
        assert_eq!(of("block_sparse_moe.router.layer"), Some(vec![4, 64]));
        let up = of("block_sparse_moe.experts.3.up_proj");
        assert_eq!(up, Some(vec![96, 64]));
    }
}

#[test]
fn what_is_missing_is_as_in_transformers() {
    let of_class = |model_type: &str| parse(&json!({"model_type": model_type})).unwrap();
    let experts = of_class("granitemoehybrid").experts.unwrap();
    assert_eq!(
        [experts.count, experts.chosen, experts.width],
        [8, 2, 11_008]
    );
    assert_eq!(experts.shared, Some(1024));
    let experts = of_class("granitemoeshared").experts.unwrap();
    assert_eq!(
        [experts.count, experts.chosen, experts.width],
        [8, 2, 11_008]
    );
    assert_eq!(experts.shared, None);
    // Without experts the MLP is all there is.
    let dense = parse(&hybrid(json!({"num_local_experts": 0}))).unwrap();
    assert_eq!((dense.experts, dense.intermediate_size), (None, 40));
    assert_eq!([dense.mlp_width(0), dense.experts_width(0)], [40, 0]);
    let asks = json!({"num_local_experts": 0, "output_router_logits": true});
    assert_eq!(parse(&hybrid(asks)).unwrap().router_aux_loss, None);
    let alone = parse(&shared(json!({"shared_intermediate_size": 0}))).unwrap();
    assert!(!alone.has_mlp(0) && alone.mlp_width(0) == 0);
    let names: Vec<String> = alone.weights().into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| !name.contains("shared_mlp")));
}

#[test]
fn what_would_be_another_model_is_refused() {
    let other =
        json!({"model_type": "granitemoe", "num_local_experts": 4, "shared_intermediate_size": 40});
    for (config, said) in [
        (
            hybrid(json!({"shared_intermediate_size": 0})),
            "shared_intermediate_size is 0, expected 1 to",
        ),
        (
            shared(json!({"shared_intermediate_size": 1u64 << 40})),
            "shared_intermediate_size is 1099511627776",
        ),
        (
            hybrid(json!({"num_experts_per_tok": 5})),
            "num_experts_per_tok is 5, expected 1 to 4",
        ),
        (
            shared(json!({"num_local_experts": 0})),
            "num_local_experts is 0, expected 1 to",
        ),
        (config_with(other), "shared_intermediate_size is 40, and"),
    ] {
        let error = parse(&config).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

/// A model's GGUF file, and the family that it is read as.
fn written(config: &Value) -> (tempfile::TempDir, GgufFile, &'static str) {
    let (dir, source) = model(config);
    let path = dir.path().join("m.gguf");
    let said = save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap();
    assert!(said.is_empty(), "{said:?}");
    let read = Checkpoint::open(&path).unwrap();
    let family = read.config().facts().model_type;
    (dir, GgufFile::open(&path).unwrap(), family)
}

#[test]
fn gguf_names_them_as_llama_cpp_does() {
    let attention = json!({"layer_types": ["attention", "attention"]});
    for (config, architecture, family, is_named) in [
        (
            hybrid(json!({})),
            "granitehybrid",
            "granitemoehybrid",
            false,
        ),
        (hybrid(attention), "granitemoe", "granitemoehybrid", true),
        (shared(json!({})), "granitemoe", "granitemoeshared", false),
        (
            shared(json!({"shared_intermediate_size": 0})),
            "granitemoe",
            "granitemoe",
            false,
        ),
    ] {
        let width = &config["shared_intermediate_size"];
        let (_dir, file, read) = written(&config);
        assert_eq!(read, family, "{config}");
        let text = |text: &str| Some(Meta::String(text.to_owned()));
        let own = file.metadata("general.architecture").cloned();
        assert_eq!(own, text(architecture), "{config}");
        let named = file.metadata("lora.model_type").cloned();
        assert_eq!(named, text(family).filter(|_| is_named), "{config}");
        let number = |key: &str| file.metadata(&format!("{architecture}.{key}"))?.as_u64();
        assert_eq!(number("feed_forward_length"), Some(96));
        let beside = number("expert_shared_feed_forward_length");
        assert_eq!(beside, width.as_u64().filter(|&width| width > 0));
        for (name, shape) in [
            ("ffn_gate_shexp", [40, 64]),
            ("ffn_up_shexp", [40, 64]),
            ("ffn_down_shexp", [64, 40]),
        ] {
            let tensor = file.tensor(&format!("blk.1.{name}.weight"));
            let found = tensor.map(|tensor| tensor.shape().to_vec());
            assert_eq!(found, beside.map(|_| shape.to_vec()), "{config} {name}");
        }
        assert!(file.tensor("blk.1.ffn_gate_exps.weight").is_some());
        assert!(file.tensor("blk.1.ffn_gate.weight").is_none());
    }
}

#[test]
fn gate_and_up_beside_experts_are_two_tensors() {
    let config = parse(&shared(json!({}))).unwrap();
    let parts = tensors_of(&config, "model.layers.0.shared_mlp.input_linear.weight");
    let expected = [("gate", 0..40), ("up", 40..80)];
    let expected = expected.map(|(name, rows)| (format!("blk.0.ffn_{name}_shexp.weight"), rows));
    assert_eq!(parts.unwrap(), expected);
}

#[test]
fn a_note_says_what_the_sets_of_targets_are() {
    let (_dir, source) = model(&shared(json!({})));
    let [said] = source.notes() else {
        panic!("{:?}", source.notes())
    };
    assert!(
        said.ends_with("sets of targets are its other linear layers"),
        "{said}"
    );
}
