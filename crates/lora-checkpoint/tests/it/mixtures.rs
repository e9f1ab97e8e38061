//! What each family of mixtures has of its own: keys, names of weights, GGUF, and what is refused.
use crate::support::{config_with, keep, model, parse};
use lora_checkpoint::gguf::{GgufFile, Value as Meta};
use lora_checkpoint::{
    Checkpoint, Error, Experts, GgufDtype, Norm, SaveDtype, Scores, TensorView as View,
    save_folder, save_gguf,
};
use lora_testkit::Told as _;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

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
        scores: Scores::Softmax,
        choice_bias: false,
        normalised: false,
        scale: 1.0,
        clamp: None,
        shared: None,
    };
    assert_eq!(config.experts, Some(expected));
    assert!(config.layers.iter().all(|layer| layer.experts));
    assert_eq!(
        [
            config.norm_width(0, Norm::Query),
            config.norm_width(0, Norm::Key)
        ],
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
        (json!({"attention_bias": true}), "bias on o_proj"),
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

fn mixtral(more: Value) -> Value {
    of("mixtral", "num_local_experts", more)
}

#[test]
fn mixtral_divides_the_weights_of_the_chosen_by_their_sum() {
    let config = parse(&mixtral(json!({"sliding_window": 8}))).unwrap();
    let own = config.experts.unwrap();
    assert_eq!([own.count, own.chosen, own.width], [4, 2, 96]);
    assert!(own.normalised);
    assert!(
        config
            .layers
            .iter()
            .all(|l| l.experts && l.window == Some(8))
    );
    let names: Vec<String> = config.weights().into_iter().map(|(name, _)| name).collect();
    for name in ["gate", "experts.0.w1", "experts.3.w2", "experts.1.w3"] {
        let name = format!("model.layers.1.block_sparse_moe.{name}.weight");
        assert!(names.contains(&name), "{name}");
    }
    let of_class = parse(&json!({"model_type": "mixtral"})).unwrap();
    let own = of_class.experts.unwrap();
    assert_eq!([own.count, own.chosen, own.width], [8, 2, 14_336]);
    assert_eq!(of_class.ropes[0].theta, 1e6);
    assert_eq!(of_class.layers[0].window, None);
    // Of another family: transformers' class doesn't read it.
    for key in ["attention_bias", "mlp_bias"] {
        let mut other = mixtral(json!({}));
        other[key] = true.into();
        assert!(
            parse(&other)
                .unwrap_err()
                .contains("transformers would ignore")
        );
    }
}

/// The names of transformers 5's modules, beside those that it writes.
#[test]
fn a_mixtral_folder_may_have_the_names_of_the_modules() {
    let (dir, source) = model(&mixtral(json!({})));
    let before = values(&source);
    let path = dir.path().join("model.safetensors");
    let stacked = |projections: &[&str], layer: usize| -> Vec<u8> {
        let of = |expert: usize, name: &str| {
            let name =
                format!("model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}.weight");
            before[&name].clone()
        };
        let each = (0..4).flat_map(|e| projections.iter().flat_map(move |p| of(e, p)));
        each.flat_map(f32::to_le_bytes).collect()
    };
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for name in source.tensor_names() {
        let view = source.tensor(&name).unwrap();
        let bytes = before[&name].iter().copied().flat_map(f32::to_le_bytes);
        if !name.contains(".experts.") {
            let name = name.replace("block_sparse_moe", "mlp");
            tensors.push((name, view.shape().to_vec(), bytes.collect()));
        }
    }
    for layer in 0..2 {
        let at = format!("model.layers.{layer}.mlp.experts");
        let both = stacked(&["w1", "w3"], layer);
        tensors.push((format!("{at}.gate_up_proj"), vec![4, 192, 64], both));
        let down = stacked(&["w2"], layer);
        tensors.push((format!("{at}.down_proj"), vec![4, 64, 96], down));
    }
    drop(source);
    write(&path, &tensors);
    assert_eq!(values(&Checkpoint::open(dir.path()).unwrap()), before);
    // The router under both names.
    let gate = tensors
        .iter()
        .find(|(name, ..)| name.contains("1.mlp.gate"))
        .cloned();
    let (name, shape, bytes) = gate.unwrap();
    tensors.push((name.replace("mlp", "block_sparse_moe"), shape, bytes));
    write(&path, &tensors);
    let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("is also in model.layers.1.mlp.gate.weight"),
        "{error}"
    );
}

fn values(model: &Checkpoint) -> BTreeMap<String, Vec<f32>> {
    let names = model.tensor_names().into_iter();
    names
        .map(|name| (name.clone(), model.tensor(&name).unwrap().to_f32()))
        .collect()
}

fn write(path: &Path, tensors: &[(String, Vec<usize>, Vec<u8>)]) {
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn experts_make_a_llama_file_a_mixtral() {
    for window in [json!(null), json!(8)] {
        let (dir, said) = written(&mixtral(json!({"sliding_window": window}))).unwrap();
        assert_eq!(said.is_empty(), window.is_null(), "{said:?}");
        let path = dir.path().join("m.gguf");
        let read = Checkpoint::open(&path).unwrap();
        assert_eq!(read.config().facts().model_type, "mixtral");
        let file = GgufFile::open(&path).unwrap();
        let architecture = file.metadata("general.architecture").cloned();
        assert_eq!(architecture, Some(Meta::String("llama".to_owned())));
        let router = file.tensor("blk.0.ffn_gate_inp.weight").unwrap();
        assert_eq!(router.shape(), [4, 64]);
    }
}

fn granitemoe(more: Value) -> Value {
    of("granitemoe", "num_local_experts", more)
}

#[test]
fn granite_has_its_factors_beside_experts() {
    let factors = json!({"embedding_multiplier": 12.0, "attention_multiplier": 0.25, "residual_multiplier": 0.22,
        "logits_scaling": 8.0, "attention_bias": true});
    let config = parse(&granitemoe(factors.clone())).unwrap();
    assert!(config.experts.unwrap().normalised);
    assert_eq!(config.multipliers.residual, 0.22);
    assert!(config.biases.qkv && config.biases.output && !config.biases.mlp);
    let of_class = parse(&json!({"model_type": "granitemoe"})).unwrap();
    let own = of_class.experts.unwrap();
    assert_eq!([own.count, own.chosen, own.width], [8, 2, 11_008]);
    let (dir, said) = written(&granitemoe(factors)).unwrap();
    assert!(said.is_empty(), "{said:?}");
    let file = GgufFile::open(&dir.path().join("m.gguf")).unwrap();
    let scale = file.metadata("granitemoe.residual_scale").cloned();
    assert_eq!(scale, Some(Meta::F32(0.22)));
}

/// A folder's own tensors: name and shape.
fn tensors(path: &Path) -> BTreeMap<String, Vec<usize>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let all = file.tensors().into_iter();
    all.map(|(name, view)| (name, view.shape().to_vec()))
        .collect()
}

#[test]
fn granite_folders_hold_the_experts_stacked() {
    let (_dir, source) = model(&granitemoe(json!({})));
    let again = tempfile::tempdir().unwrap();
    let nothing = |_: &View<'_>, _: usize, _: &mut [f32]| Ok::<_, Error>(());
    save_folder(again.path(), &source, SaveDtype::F32, nothing).unwrap();
    let path = again.path().join("model.safetensors");
    let found = tensors(&path);
    let of = |name: &str| {
        found
            .get(&format!("model.layers.1.block_sparse_moe.{name}"))
            .cloned()
    };
    assert_eq!(of("input_linear.weight"), Some(vec![4, 192, 64]));
    assert_eq!(of("output_linear.weight"), Some(vec![4, 64, 96]));
    assert_eq!(of("router.layer.weight"), Some(vec![4, 64]));
    assert!(found.keys().all(|name| !name.contains(".experts.")));
    let read = Checkpoint::open(again.path()).unwrap();
    assert_eq!(values(&read), values(&source));
    // Gate and up of an expert lie one behind the other, as transformers' chunk(2) takes them apart.
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stack = file
        .tensor("model.layers.1.block_sparse_moe.input_linear.weight")
        .unwrap();
    let stack: Vec<f32> = stack
        .data()
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let up = source
        .tensor("model.layers.1.block_sparse_moe.experts.2.up_proj.weight")
        .unwrap();
    assert_eq!(stack[(2 * 192 + 96) * 64..][..96 * 64], up.to_f32());
}

#[test]
fn a_granite_folder_without_a_stack_is_refused_by_its_name() {
    let (dir, source) = model(&granitemoe(json!({})));
    drop(source);
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let gone = "model.layers.0.block_sparse_moe.output_linear.weight";
    let rest = file.tensors().into_iter().filter(|(name, _)| name != gone);
    let rest: Vec<_> = rest
        .map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec()))
        .collect();
    write(&path, &rest);
    let error = Checkpoint::open(dir.path()).unwrap_err().told();
    assert!(
        error.contains(&format!("tensor {gone} is missing")),
        "{error}"
    );
    assert!(error.contains("hint:"), "{error}");
}
