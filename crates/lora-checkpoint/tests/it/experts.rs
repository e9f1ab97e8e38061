//! Mixtures of experts: keys, names and shapes, both layouts of a folder, GGUF's stacked tensors, and what is refused.
use crate::support::{config_with, keep, model, parse};
use lora_checkpoint::gguf::{GgufFile, Value as Meta};
use lora_checkpoint::{
    Checkpoint, Error, Experts, GgufDtype, GgufStorage, GgufTensor, Mix, ModelConfig, Projection,
    Scores, StorageDtype, save_gguf, write_gguf,
};
use lora_testkit::Told as _;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn small(more: Value) -> Value {
    let mut all = json!({"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 32, "norm_topk_prob": true});
    let more = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    config_with(all)
}

fn sparse(config: &ModelConfig) -> Vec<bool> {
    config.layers.iter().map(|layer| layer.experts).collect()
}

#[test]
fn keys_say_how_many_how_wide_and_where() {
    let config = parse(&small(
        json!({"num_hidden_layers": 5, "decoder_sparse_step": 2}),
    ))
    .unwrap();
    let expected = Experts {
        count: 4,
        chosen: 2,
        width: 32,
        scores: Scores::Softmax,
        choice_bias: false,
        normalised: true,
        scale: 1.0,
        clamp: None,
        shared: None,
    };
    assert_eq!(config.experts, Some(expected));
    assert_eq!(sparse(&config), [false, true, false, true, false]);
    let without = json!({"num_hidden_layers": 3, "mlp_only_layers": [0, 2, 9]});
    let config = parse(&small(without)).unwrap();
    assert_eq!(sparse(&config), [false, true, false]);
    // transformers 5 writes another name of the same.
    let mut renamed = small(json!({"num_local_experts": 4}));
    renamed.as_object_mut().unwrap().remove("num_experts");
    assert_eq!(parse(&renamed).unwrap().experts, Some(expected));
    let of_class = json!({"model_type": "qwen3_moe"});
    let of_class = parse(&of_class).unwrap().experts.unwrap();
    assert_eq!(
        (of_class.count, of_class.chosen, of_class.width),
        (128, 8, 768)
    );
    assert!(!of_class.normalised);
    for (change, message) in [
        (json!({"num_experts": 0}), "num_experts is 0, expected 1 to"),
        (
            json!({"num_experts_per_tok": 5}),
            "num_experts_per_tok is 5, expected 1 to 4",
        ),
        (
            json!({"moe_intermediate_size": 0}),
            "moe_intermediate_size is 0",
        ),
        (
            json!({"decoder_sparse_step": 0}),
            "decoder_sparse_step is 0",
        ),
        (json!({"mlp_only_layers": ["x"]}), "mlp_only_layers has"),
        (json!({"num_local_experts": 3}), "say different things"),
        (json!({"n_routed_experts": 8}), "transformers would ignore"),
    ] {
        let error = parse(&small(change.clone())).unwrap_err();
        assert!(error.contains(message), "{change}: {error}");
    }
}

#[test]
fn what_transformers_adds_to_the_loss_is_read_and_what_it_does_to_inputs_said() {
    let asks = small(json!({"output_router_logits": true, "router_jitter_noise": 0.1}));
    let (_dir, asks) = model(&asks);
    assert_eq!(asks.notes().len(), 2);
    assert!(asks.notes()[0].contains("router_jitter_noise"));
    assert_eq!(asks.config().router_aux_loss, Some(0.001));
    let coefficient = |more| parse(&small(more)).map(|config| config.router_aux_loss);
    let asked = json!({"output_router_logits": true, "router_aux_loss_coef": 0.02});
    assert_eq!(coefficient(asked), Ok(Some(0.02)));
    assert_eq!(coefficient(json!({"router_aux_loss_coef": 0.02})), Ok(None));
    let negative = json!({"output_router_logits": true, "router_aux_loss_coef": -0.5});
    assert!(coefficient(negative).is_err());
    let (_dir, plain) = model(&small(json!({"output_router_logits": false})));
    let [said] = plain.notes() else {
        panic!("{:?}", plain.notes())
    };
    assert!(
        said.contains("train only where --target-parameters names them"),
        "{said}"
    );
}

#[test]
fn names_and_shapes_are_those_of_the_files() {
    let config = parse(&small(json!({"mlp_only_layers": [0]}))).unwrap();
    let weights: BTreeMap<_, _> = config.weights().into_iter().collect();
    let of = |name: &str| weights.get(&format!("model.layers.{name}.weight")).cloned();
    assert_eq!(of("0.mlp.up_proj"), Some(vec![96, 64]));
    assert_eq!(of("0.mlp.gate"), None);
    assert_eq!(of("1.mlp.up_proj"), None);
    assert_eq!(of("1.mlp.gate"), Some(vec![4, 64]));
    assert_eq!(of("1.mlp.experts.3.up_proj"), Some(vec![32, 64]));
    assert_eq!(of("1.mlp.experts.3.down_proj"), Some(vec![64, 32]));
    assert_eq!(of("1.mlp.experts.4.down_proj"), None);
    let attention = [Projection::Q, Projection::K, Projection::V, Projection::O];
    assert_eq!(config.projections_of(1), attention);
    assert_eq!(config.projections_of(0).len(), 7);
}

type Tensors = Vec<(String, Vec<usize>, Vec<u8>)>;

/// The tensors of a folder as transformers 5's modules have them.
fn stacked(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (mut plain, mut experts) = (Tensors::new(), BTreeMap::new());
    for (name, tensor) in tensors.tensors() {
        let data = tensor.data().to_vec();
        match name.split_once(".experts.") {
            None => plain.push((name, tensor.shape().to_vec(), data)),
            Some((layer, rest)) => {
                let (expert, part) = rest.split_once('.').unwrap();
                let part = part.trim_end_matches(".weight").to_owned();
                let key = (layer.to_owned(), expert.parse::<usize>().unwrap(), part);
                experts.insert(key, data);
            }
        }
    }
    let of = |layer: &str, names: &[&str]| {
        let parts = (0..4).flat_map(|e| names.iter().map(move |n| (e, (*n).to_owned())));
        let parts = parts.map(|(e, n)| experts[&(layer.to_owned(), e, n)].clone());
        parts.collect::<Vec<_>>().concat()
    };
    for layer in ["model.layers.0.mlp", "model.layers.1.mlp"] {
        let both = of(layer, &["gate_proj", "up_proj"]);
        plain.push((
            format!("{layer}.experts.gate_up_proj"),
            vec![4, 64, 64],
            both,
        ));
        let down = of(layer, &["down_proj"]);
        plain.push((format!("{layer}.experts.down_proj"), vec![4, 64, 32], down));
    }
    plain
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn experts_that_are_stacked_in_a_folder_are_the_same_model() {
    let (dir, source) = model(&small(json!({})));
    let path = dir.path().join("model.safetensors");
    let values = |model: &Checkpoint| -> BTreeMap<String, Vec<f32>> {
        let names = model.tensor_names().into_iter();
        names
            .map(|name| (name.clone(), model.tensor(&name).unwrap().to_f32()))
            .collect()
    };
    let expected = values(&source);
    let mut tensors = stacked(&path);
    let own = std::fs::read(&path).unwrap();
    write(&path, &tensors);
    assert_eq!(values(&Checkpoint::open(dir.path()).unwrap()), expected);
    // Of another shape; in both layouts.
    let last = tensors.len() - 1;
    tensors[last].1 = vec![2, 128, 32];
    write(&path, &tensors);
    let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("the config calls for [4, 64, 32]"),
        "{error}"
    );
    tensors.truncate(last);
    let both = SafeTensors::deserialize(&own).unwrap();
    for (name, tensor) in both.tensors() {
        if name.contains(".experts.") {
            tensors.push((name, tensor.shape().to_vec(), tensor.data().to_vec()));
        }
    }
    write(&path, &tensors);
    let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is also in"), "{error}");
}

#[test]
fn gguf_holds_the_experts_of_a_layer_in_one_tensor() {
    let (dir, source) = model(&small(json!({})));
    let path = dir.path().join("m.gguf");
    save_gguf(&path, &source, GgufDtype::Q8_0, "m", keep).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let tensor = |name: &str| file.tensor(name).unwrap();
    let gates = tensor("blk.1.ffn_gate_exps.weight");
    assert_eq!(gates.shape(), [4, 32, 64]);
    assert_eq!(tensor("blk.1.ffn_down_exps.weight").shape(), [4, 64, 32]);
    // The router stays as it is, in whatever the others are stored.
    assert_eq!(
        tensor("blk.0.ffn_gate_inp.weight").dtype(),
        StorageDtype::F32
    );
    for (key, value) in [
        ("expert_count", 4),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", 32),
    ] {
        let found = file.metadata(&format!("qwen3moe.{key}"));
        assert_eq!(found.and_then(Meta::as_u64), Some(value), "{key}");
    }
    // Each expert is read where it lies, in its blocks.
    let read = Checkpoint::open(&path).unwrap();
    let whole = gates.to_f32();
    for expert in 0..4 {
        let name = format!("model.layers.1.mlp.experts.{expert}.gate_proj.weight");
        let own = read.tensor(&name).unwrap();
        assert_eq!(own.to_f32(), whole[expert * 32 * 64..][..32 * 64]);
        let mut part = [0.0; 32];
        own.read_part(5, 32, &mut part);
        assert_eq!(part, whole[(expert * 32 + 5) * 64 + 32..][..32]);
    }
}

/// llama.cpp's choice beside eight experts: more bits for what is small.
#[test]
fn mixes_give_attention_more_bits_beside_eight_experts() {
    let types = |experts: usize| {
        let wide = json!({"num_experts": experts, "hidden_size": 256, "moe_intermediate_size": 256, "head_dim": 64});
        let (dir, source) = model(&small(wide));
        let path = dir.path().join("m.gguf");
        let storage = GgufStorage::Mixed(Mix::Q4KM, None);
        save_gguf(&path, &source, storage, "m", keep).unwrap();
        let file = GgufFile::open(&path).unwrap();
        ["attn_q", "attn_k", "attn_output", "ffn_down_exps"].map(|name| {
            let tensor = file.tensor(&format!("blk.1.{name}.weight")).unwrap();
            tensor.stored_bytes() * 256 / tensor.len() // bytes of 256 values
        })
    };
    let (q4_k, q5_k, q6_k, q8_0) = (144, 176, 210, 272);
    assert_eq!(types(8), [q4_k, q8_0, q5_k, q6_k]);
    assert_eq!(types(7), [q4_k, q4_k, q4_k, q6_k]);
}

#[test]
fn what_gguf_cannot_say_of_a_mixture_is_refused() {
    for (change, message) in [
        (json!({"norm_topk_prob": false}), "by their sum"),
        (
            json!({"mlp_only_layers": [1]}),
            "experts in every layer, layer 1",
        ),
    ] {
        let (dir, source) = model(&small(change));
        let path = dir.path().join("m.gguf");
        let error = save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap_err();
        let error = error.told();
        let says_how = error.contains(message) && error.contains("--format hf");
        assert!(says_how, "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn files_of_experts_that_contradict_themselves_are_refused() {
    let (dir, source) = model(&small(json!({})));
    let path = dir.path().join("m.gguf");
    save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let other = dir.path().join("other.gguf");
    let again = |key: &str, value: Option<Meta>| {
        let mut metadata: Vec<(String, Meta)> = file
            .all_metadata()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .filter(|(own, _)| own != key)
            .collect();
        metadata.extend(value.map(|value| (key.to_owned(), value)));
        let views: Vec<_> = file.tensor_names().filter_map(|n| file.tensor(n)).collect();
        let tensors: Vec<GgufTensor> = views
            .iter()
            .map(|view| GgufTensor {
                name: view.name().to_owned(),
                shape: view.shape().to_vec(),
                dtype: GgufDtype::F32,
            })
            .collect();
        write_gguf(&other, &metadata, &tensors, |index, first, rows| {
            views[index].read_rows(first, rows);
            Ok::<_, Error>(())
        })
        .unwrap();
        Checkpoint::open(&other)
    };
    assert!(again("nothing", None).is_ok());
    let number = |n| Some(Meta::U32(n));
    for (key, value, message) in [
        ("qwen3moe.expert_count", None, "no qwen3moe.expert_count"),
        (
            "qwen3moe.expert_count",
            number(5),
            "the metadata call for [5, 32, 64]",
        ),
        ("qwen3moe.expert_count", number(0), "expected 1 to"),
        ("qwen3moe.expert_used_count", number(9), "expected 1 to 4"),
        (
            "qwen3moe.expert_feed_forward_length",
            None,
            "no qwen3moe.expert_feed",
        ),
        ("qwen3moe.expert_shared_count", number(1), "not supported"),
        ("qwen3moe.expert_gating_func", number(2), "not supported"),
        (
            "qwen3moe.expert_weights_norm",
            Some(Meta::Bool(false)),
            "not supported",
        ),
    ] {
        let error = again(key, value).unwrap_err().to_string();
        assert!(error.contains(message), "{key}: {error}");
    }
    assert!(again("qwen3moe.expert_weights_norm", Some(Meta::Bool(true))).is_ok());
}
