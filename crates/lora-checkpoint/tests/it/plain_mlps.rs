//! Families with LayerNorm, MLPs without a gate, xIELU, or attention and MLP side by side: names, keys and what is refused.
use crate::support::{config_with, keep, model};
use lora_checkpoint::gguf::{GgufFile, Value as Meta};
use lora_checkpoint::{
    Checkpoint, Error, GgufDtype, GgufTensor, ModelConfig, RopeScaling, SaveDtype, save_folder,
    save_gguf, write_gguf,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::Path;

fn parse(config: &Value) -> Result<ModelConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    ModelConfig::from_json(&path).map_err(|e| e.to_string())
}

fn shape(config: &ModelConfig, name: &str) -> Option<Vec<usize>> {
    let found = config.weights().into_iter().find(|(n, _)| n == name);
    found.map(|(_, shape)| shape)
}

#[test]
fn names_and_shapes_follow_norms_and_mlps() {
    let starcoder2 = parse(&config_with(json!({"model_type": "starcoder2"}))).unwrap();
    let of = |name: &str| shape(&starcoder2, &format!("model.layers.1.{name}"));
    assert_eq!(of("mlp.c_fc.weight"), Some(vec![96, 64]));
    assert_eq!(of("mlp.c_proj.bias"), Some(vec![64]));
    assert_eq!(of("mlp.up_proj.weight"), None);
    assert_eq!(of("input_layernorm.bias"), Some(vec![64]));
    assert_eq!(shape(&starcoder2, "model.norm.bias"), Some(vec![64]));
    let apertus = parse(&config_with(json!({"model_type": "apertus"}))).unwrap();
    let of = |name: &str| shape(&apertus, &format!("model.layers.1.{name}"));
    assert_eq!(of("mlp.act_fn.alpha_p"), Some(vec![1]));
    assert_eq!(of("mlp.act_fn.beta"), None);
    assert_eq!(of("mlp.gate_proj.weight"), None);
    assert_eq!(of("attention_layernorm.bias"), None);
    assert_eq!(apertus.constants().len(), 4);
    let cohere2 = parse(&config_with(json!({"model_type": "cohere2"}))).unwrap();
    let of = |name: &str| shape(&cohere2, &format!("model.layers.1.{name}"));
    assert_eq!(of("input_layernorm.weight"), Some(vec![64]));
    assert_eq!(of("input_layernorm.bias"), None);
    assert_eq!(of("post_attention_layernorm.weight"), None);
}

#[test]
fn keys_of_config_json_are_the_familys_own() {
    let named = json!({"model_type": "starcoder2", "norm_epsilon": 3e-4, "use_bias": false});
    let starcoder2 = parse(&named).unwrap();
    assert_eq!(starcoder2.norm_eps, 3e-4);
    assert!(!starcoder2.biases.qkv && !starcoder2.biases.output && !starcoder2.biases.mlp);
    assert!(starcoder2.tie_word_embeddings);
    let cohere2 = json!({"model_type": "cohere2", "num_hidden_layers": 5, "layer_norm_eps": 2e-5});
    let cohere2 = parse(&cohere2).unwrap();
    assert_eq!((cohere2.norm_eps, cohere2.multipliers.logits), (2e-5, 16.0));
    let ropes: Vec<Option<usize>> = cohere2.layers.iter().map(|l| l.rope).collect();
    assert_eq!(ropes, [Some(0), Some(0), Some(0), None, Some(0)]);
    // Whatever window is named: layers that see everything have no rotary embedding.
    let full = json!({"model_type": "cohere2", "num_hidden_layers": 1, "sliding_window": null,
        "layer_types": ["full_attention"]});
    assert_eq!(parse(&full).unwrap().layers[0].rope, None);
    let apertus = parse(&json!({"model_type": "apertus", "rope_theta": 12_000_000.0})).unwrap();
    let rope = &apertus.ropes[0];
    assert_eq!(rope.theta, 12_000_000.0);
    assert!(matches!(
        rope.scaling,
        RopeScaling::Llama3 { factor: 8.0, .. }
    ));
    let ministral = |more: Value| {
        let mut config = json!({"model_type": "ministral", "num_hidden_layers": 2});
        let own = config.as_object_mut().unwrap();
        own.extend(more.as_object().unwrap().clone());
        let layers = parse(&config).map(|c| c.layers);
        layers.map(|layers| layers.iter().map(|l| l.window).collect::<Vec<_>>())
    };
    let types = json!(["full_attention", "sliding_attention"]);
    assert_eq!(ministral(json!({})).unwrap(), [Some(4096); 2]);
    let mixed = ministral(json!({"layer_types": types, "sliding_window": 8}));
    assert_eq!(mixed.unwrap(), [None, Some(8)]);
    assert_eq!(
        ministral(json!({"sliding_window": null})).unwrap(),
        [None; 2]
    );
    let refused = [
        (
            json!({"model_type": "ministral", "num_hidden_layers": 2, "sliding_window": null,
            "layer_types": types}),
            "sliding_window is null",
        ),
        (
            json!({"model_type": "cohere2", "logit_scale": -0.5}),
            "logit_scale is -0.5",
        ),
        (
            json!({"model_type": "apertus", "rope_theta": 777.0}),
            "transformers gives apertus 12000000",
        ),
        (
            json!({"model_type": "apertus", "hidden_act": "silu"}),
            "only \"xielu\" is",
        ),
        (
            json!({"model_type": "llama", "logit_scale": 0.5}),
            "transformers would ignore it",
        ),
    ];
    for (config, message) in refused {
        let error = parse(&config).unwrap_err();
        assert!(error.contains(message), "{error} should contain {message}");
    }
}

fn apertus() -> Value {
    config_with(json!({"model_type": "apertus"}))
}

/// β and ε are written as transformers keeps them, read if they are those of its class, and refused otherwise.
#[test]
fn constants_of_xielu_are_written_and_checked() {
    let (_dir, source) = model(&apertus());
    for dtype in [SaveDtype::F32, SaveDtype::BF16, SaveDtype::F16] {
        let out = tempfile::tempdir().unwrap();
        save_folder(out.path(), &source, dtype, |_, _, _| Ok::<_, Error>(())).unwrap();
        let path = out.path().join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let beta = file.tensor("model.layers.1.mlp.act_fn.beta").unwrap();
        assert!(beta.shape().is_empty());
        let learned = file.tensor("model.layers.1.mlp.act_fn.alpha_n").unwrap();
        assert_eq!(learned.shape(), [1]);
        let again = Checkpoint::open(out.path()).unwrap();
        assert_eq!(again.tensor_names(), source.tensor_names());

        let zeros = vec![0; beta.data().len()];
        let tensors = file.tensors();
        let edited = tensors.iter().map(|(name, view)| {
            let data = match name.ends_with("0.mlp.act_fn.beta") {
                true => &zeros[..],
                false => view.data(),
            };
            let view =
                safetensors::tensor::TensorView::new(view.dtype(), view.shape().to_vec(), data);
            (name, view.unwrap())
        });
        let edited = safetensors::serialize(edited, None).unwrap();
        std::fs::write(&path, edited).unwrap();
        let error = Checkpoint::open(out.path()).unwrap_err().to_string();
        assert!(error.contains("beta is [0.0], only 0.5"), "{error}");
    }
}

#[test]
fn numbers_of_xielu_lie_among_gguf_metadata() {
    let (dir, source) = model(&apertus());
    let path = dir.path().join("m.gguf");
    save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert!(file.tensor_names().all(|name| !name.contains("alpha")));
    let stored = Checkpoint::open(&path).unwrap();
    for (layer, number) in [
        (0, "alpha_p"),
        (1, "alpha_p"),
        (0, "alpha_n"),
        (1, "alpha_n"),
    ] {
        let name = format!("model.layers.{layer}.mlp.act_fn.{number}");
        let of = |model: &Checkpoint| model.tensor(&name).unwrap().to_f32();
        assert_eq!(of(&stored), of(&source), "{name}");
    }
    let one = edited(&path, "xielu.alpha_p", Some(Meta::F32(0.25))).unwrap();
    assert_eq!(one, [0.25, 0.25]);
    let refused = [
        ("xielu.alpha_n", None, "no xielu.alpha_n"),
        ("xielu.eps", Some(Meta::F32s(vec![-1e-6])), "no list of 2"),
        ("xielu.beta", Some(Meta::F32(0.4)), "xielu.beta is 0.4"),
        ("xielu.alpha_p", Some(Meta::U32(1)), "no list of 2"),
    ];
    for (key, value, message) in refused {
        let error = edited(&path, key, value).unwrap_err();
        assert!(error.contains(message), "{error} should contain {message}");
    }
}

/// α_p of both layers of a copy of a file in which a key has another value, or is missing.
fn edited(path: &Path, key: &str, value: Option<Meta>) -> Result<Vec<f32>, String> {
    let file = GgufFile::open(path).unwrap();
    let all = file.all_metadata().map(|(k, v)| (k.to_owned(), v.clone()));
    let mut all: Vec<(String, Meta)> = all.filter(|(k, _)| k != key).collect();
    all.extend(value.map(|value| (key.to_owned(), value)));
    let names: Vec<&str> = file.tensor_names().collect();
    let tensor = |name: &&str| GgufTensor {
        name: (*name).to_owned(),
        shape: file.tensor(name).unwrap().shape().to_vec(),
        dtype: GgufDtype::F32,
    };
    let tensors: Vec<GgufTensor> = names.iter().map(tensor).collect();
    let copy = path.with_extension("copy.gguf");
    write_gguf(&copy, &all, &tensors, |index, first, rows| {
        file.tensor(names[index]).unwrap().read_rows(first, rows);
        Ok::<_, Error>(())
    })
    .unwrap();
    let model = Checkpoint::open(&copy).map_err(|e| e.to_string())?;
    let of = |layer| format!("model.layers.{layer}.mlp.act_fn.alpha_p");
    Ok([0, 1]
        .map(|layer| model.tensor(&of(layer)).unwrap().to_f32())
        .concat())
}

#[test]
fn what_llama_cpp_does_not_load_of_them_is_said() {
    let say = |more: Value| {
        let (dir, source) = model(&config_with(more));
        let path = dir.path().join("m.gguf");
        save_gguf(&path, &source, GgufDtype::F32, "m", keep).map_err(|e| e.to_string())
    };
    for (config, what) in [
        (
            json!({"model_type": "starcoder2", "use_bias": false}),
            "linear layers without biases",
        ),
        (
            json!({"model_type": "apertus", "tie_word_embeddings": true}),
            "head that is the embedding",
        ),
        (
            json!({"model_type": "starcoder2", "sliding_window": 8}),
            "texts beyond 8 tokens differ",
        ),
        (
            json!({"model_type": "ministral", "sliding_window": 8,
            "layer_types": ["full_attention", "sliding_attention"]}),
            "texts beyond 8 tokens differ",
        ),
    ] {
        let said = say(config).unwrap();
        assert!(said.iter().any(|line| line.contains(what)), "{said:?}");
    }
    let untied = json!({"model_type": "cohere2", "num_hidden_layers": 4, "sliding_window": 8});
    let error = say(untied).unwrap_err();
    assert!(error.contains("no head of its own"), "{error}");
}
