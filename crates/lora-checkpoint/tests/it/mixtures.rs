//! What each family of mixtures has of its own: keys, names of weights, GGUF, and what is refused.
use crate::support::{config_with, keep, model};
use lora_checkpoint::gguf::GgufFile;
use lora_checkpoint::{Experts, GgufDtype, ModelConfig, Norm, save_gguf};
use lora_testkit::Told as _;
use serde_json::{Value, json};

fn of(model_type: &str, count_key: &str, more: Value) -> Value {
    let mut all = json!({"model_type": model_type, "num_experts_per_tok": 2});
    all[count_key] = 4.into();
    all.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    config_with(all)
}

fn olmoe(more: Value) -> Value {
    of("olmoe", "num_experts", more)
}

fn parse(config: &Value) -> Result<ModelConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    ModelConfig::from_json(&path).map_err(|e| e.told())
}

/// What is said when a model is written as GGUF, or why it isn't; and the file.
fn written(config: &Value) -> Result<(tempfile::TempDir, Vec<String>), String> {
    let (dir, source) = model(config);
    let path = dir.path().join("m.gguf");
    let said =
        save_gguf(&path, &source, GgufDtype::F32, "m", keep).map_err(|error| error.told())?;
    Ok((dir, said))
}

fn is_refused(config: &Value, message: &str) {
    let error = written(config).map(|(_, said)| said).unwrap_err();
    let says_how = error.contains(message) && error.contains("--format hf");
    assert!(says_how, "{config}: {error}");
}

#[test]
fn olmoe_normalises_all_heads_together_and_weights_if_asked() {
    let config = parse(&olmoe(json!({}))).unwrap();
    let expected = Experts {
        count: 4,
        chosen: 2,
        width: 96,
        normalised: false,
    };
    assert_eq!(config.experts, Some(expected));
    assert!(config.layers.iter().all(|layer| layer.experts));
    assert_eq!(
        [config.norm_width(Norm::Query), config.norm_width(Norm::Key)],
        [64, 32]
    );
    let asks = parse(&olmoe(json!({"norm_topk_prob": true}))).unwrap();
    assert!(asks.experts.unwrap().normalised);
    let of_class = parse(&json!({"model_type": "olmoe"})).unwrap();
    let own = of_class.experts.unwrap();
    assert_eq!([own.count, own.chosen, own.width], [64, 8, 2048]);
    assert_eq!(of_class.num_hidden_layers, 16);
    // transformers cuts off queries, keys and values that are beyond it.
    let error = parse(&olmoe(json!({"clip_qkv": 8.0}))).unwrap_err();
    assert!(
        error.contains("clip_qkv is 8.0, which changes what the model computes"),
        "{error}"
    );
    assert!(error.contains("hint:"), "{error}");
    parse(&olmoe(json!({"clip_qkv": null}))).unwrap();
}

#[test]
fn gguf_has_one_olmoe() {
    // llama.cpp loads the biases and leaves them out.
    is_refused(
        &olmoe(json!({"attention_bias": true})),
        "leaves out the biases on q, k and v",
    );
    let normalised = olmoe(json!({"norm_topk_prob": true}));
    is_refused(&normalised, "doesn't divide the weights of the chosen");
    let (dir, said) = written(&olmoe(json!({"num_key_value_heads": 4}))).unwrap();
    assert!(said.is_empty(), "{said:?}");
    let file = GgufFile::open(&dir.path().join("m.gguf")).unwrap();
    assert!(file.metadata("olmoe.expert_feed_forward_length").is_none());
    let width = file.metadata("olmoe.feed_forward_length");
    assert_eq!(width.and_then(|w| w.as_u64()), Some(96));
    for (change, what) in [
        (json!({}), "keys that several heads share"),
        (
            json!({"tie_word_embeddings": true}),
            "head that is the embedding",
        ),
        (json!({"head_dim": 8}), "heads that are wider or narrower"),
    ] {
        let (_, said) = written(&olmoe(change.clone())).unwrap();
        let is_named = said.iter().any(|line| line.contains(what));
        assert!(is_named, "{change}: {said:?}");
    }
}
