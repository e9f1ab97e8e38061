//! Experts that are scored by sigmoids and chosen with numbers added, behind layers without: keys, names, GGUF, and what is refused.
use crate::support::{config_with, keep, model, parse};
use lora_checkpoint::gguf::{GgufFile, Value as Meta};
use lora_checkpoint::{
    Checkpoint, Error, GgufDtype, GgufTensor, ModelConfig, Scores, save_gguf, write_gguf,
};
use lora_testkit::Told as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn lfm2(more: Value) -> Value {
    let mut all = json!({"model_type": "lfm2_moe", "num_hidden_layers": 3, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 32, "num_dense_layers": 1, "layer_types": ["conv", "full_attention", "conv"]});
    let more = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    config_with(all)
}

#[test]
fn the_first_layers_have_one_mlp_and_the_others_experts() {
    let config = parse(&lfm2(json!({}))).unwrap();
    let own = config.experts.unwrap();
    assert_eq!([own.count, own.chosen, own.width], [4, 2, 32]);
    assert_eq!(own.scores, Scores::Sigmoid);
    assert!(own.normalised && own.choice_bias && own.scale == 1.0);
    let sparse: Vec<bool> = config.layers.iter().map(|layer| layer.experts).collect();
    assert_eq!(sparse, [false, true, true]);
    let weights: BTreeMap<_, _> = config.weights().into_iter().collect();
    let of = |name: &str| weights.get(&format!("model.layers.{name}")).cloned();
    assert_eq!(of("0.feed_forward.w1.weight"), Some(vec![96, 64]));
    assert_eq!(of("0.feed_forward.expert_bias"), None);
    assert_eq!(of("1.feed_forward.w1.weight"), None);
    assert_eq!(of("1.feed_forward.gate.weight"), Some(vec![4, 64]));
    assert_eq!(of("1.feed_forward.expert_bias"), Some(vec![4]));
    assert_eq!(of("2.feed_forward.experts.3.w2.weight"), Some(vec![64, 32]));
    let bare = parse(&lfm2(json!({"use_expert_bias": false}))).unwrap();
    assert_eq!(bare.choice_bias(1), None);
    assert!(
        bare.weights()
            .iter()
            .all(|(name, _)| !name.contains("expert_bias"))
    );
    let of_class = parse(&json!({"model_type": "lfm2_moe"})).unwrap();
    let own = of_class.experts.unwrap();
    assert_eq!([own.count, own.chosen, own.width], [32, 4, 1792]);
    assert_eq!(
        (of_class.dense_layers(), of_class.tie_word_embeddings),
        (2, true)
    );
    // transformers adds no loss for their balance, whatever is asked for.
    let asks = json!({"output_router_logits": true, "router_aux_loss_coef": 0.1});
    assert_eq!(parse(&lfm2(asks)).unwrap().router_aux_loss, None);
}

#[test]
fn a_note_says_what_the_sets_of_targets_are() {
    let attention = ["full_attention"; 3];
    for (own, sets) in [
        (json!({}), "its other linear layers"),
        (json!({"num_dense_layers": 0}), "its other linear layers"),
        (json!({"layer_types": attention}), "its other linear layers"),
        (
            json!({"layer_types": attention, "num_dense_layers": 0}),
            "its attention",
        ),
    ] {
        let (_dir, source) = model(&lfm2(own));
        let [said] = source.notes() else {
            panic!("{:?}", source.notes())
        };
        assert!(
            said.ends_with(&format!("sets of targets are {sets}")),
            "{said}"
        );
    }
}

#[test]
fn what_would_be_another_model_is_refused() {
    for (bad, said) in [
        (
            json!({"routed_scaling_factor": 0.0}),
            "routed_scaling_factor is 0",
        ),
        (
            json!({"routed_scaling_factor": -1.0}),
            "routed_scaling_factor is -1",
        ),
        (
            json!({"num_experts_per_tok": 5}),
            "num_experts_per_tok is 5",
        ),
        (json!({"conv_bias": true}), "conv_bias is true"),
    ] {
        let error = parse(&lfm2(bad)).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let other = json!({"model_type": "qwen3_moe", "routed_scaling_factor": 2.5});
    let error = parse(&config_with(other)).unwrap_err();
    assert!(
        error.contains("routed_scaling_factor is 2.5, and"),
        "{error}"
    );
}

#[test]
fn what_llama_cpp_does_not_compute_is_refused() {
    for (own, said) in [
        (json!({"routed_scaling_factor": 2.0}), "this model by 2"),
        (json!({"use_expert_bias": false}), "use_expert_bias"),
        (json!({"norm_topk_prob": false}), "divides the weights"),
    ] {
        let (dir, source) = model(&lfm2(own));
        let path = dir.path().join("m.gguf");
        let error = save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap_err();
        let told = error.told();
        assert!(
            told.contains(said) && told.contains("--format hf"),
            "{told}"
        );
    }
}

/// The file with one key changed, or without it.
fn changed(file: &GgufFile, key: &str, value: Option<Meta>) -> Result<ModelConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let all = file.all_metadata().filter(|(own, _)| *own != key);
    let mut metadata: Vec<(String, Meta)> = all
        .map(|(own, value)| (own.to_owned(), value.clone()))
        .collect();
    metadata.extend(value.map(|value| (key.to_owned(), value)));
    let names: Vec<&str> = file.tensor_names().collect();
    let tensor = |name: &&str| GgufTensor {
        name: (*name).to_owned(),
        shape: file.tensor(name).unwrap().shape().to_vec(),
        dtype: GgufDtype::F32,
    };
    let tensors: Vec<GgufTensor> = names.iter().map(tensor).collect();
    write_gguf(&path, &metadata, &tensors, |index, first, rows| {
        file.tensor(names[index]).unwrap().read_rows(first, rows);
        Ok::<_, Error>(())
    })
    .unwrap();
    let opened = Checkpoint::open(&path);
    opened.map(|c| c.config().clone()).map_err(|e| e.told())
}

#[test]
fn gguf_says_it_as_llama_cpp_does() {
    let (dir, source) = model(&lfm2(json!({})));
    let path = dir.path().join("m.gguf");
    let said = save_gguf(&path, &source, GgufDtype::Q8_0, "m", keep).unwrap();
    assert!(said.is_empty(), "{said:?}");
    let file = GgufFile::open(&path).unwrap();
    let number = |key: &str| file.metadata(&format!("lfm2moe.{key}"))?.as_u64();
    assert_eq!(number("leading_dense_block_count"), Some(1));
    assert_eq!(number("expert_gating_func"), Some(2));
    assert_eq!(number("expert_feed_forward_length"), Some(32));
    assert_eq!(number("feed_forward_length"), Some(96));
    let bias = file.tensor("blk.1.exp_probs_b.bias").unwrap();
    assert_eq!(bias.shape(), [4]);
    let own = source.tensor("model.layers.1.feed_forward.expert_bias");
    assert_eq!(bias.to_f32(), own.unwrap().to_f32());
    assert!(file.tensor("blk.0.exp_probs_b.bias").is_none());
    for (key, value, said) in [
        (
            "expert_gating_func",
            Some(Meta::U32(1)),
            "expert_gating_func is 1",
        ),
        (
            "expert_gating_func",
            Some(Meta::U32(0)),
            "expert_gating_func is 0",
        ),
        ("expert_gating_func", None, "no lfm2moe.expert_gating_func"),
        (
            "expert_weights_scale",
            Some(Meta::F32(2.0)),
            "expert_weights_scale is 2",
        ),
        (
            "leading_dense_block_count",
            Some(Meta::U32(2)),
            "unknown tensor blk.1.exp_probs_b.bias",
        ),
        ("leading_dense_block_count", Some(Meta::U32(0)), "blk.0.ffn"),
        (
            "leading_dense_block_count",
            None,
            "no lfm2moe.leading_dense_block_count",
        ),
    ] {
        let error = changed(&file, &format!("lfm2moe.{key}"), value).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}
