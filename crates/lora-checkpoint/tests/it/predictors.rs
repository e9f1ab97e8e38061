//! Layers behind the decoder's that predict further tokens: GGUF counts them among its blocks.
use crate::support::{config_with, keep, model};
use lora_checkpoint::gguf::{GgufFile, Value};
use lora_checkpoint::{Checkpoint, GgufDtype, GgufTensor, save_gguf, write_gguf};
use lora_testkit::Told as _;
use serde_json::json;
use std::path::{Path, PathBuf};

/// A GGUF file of a model of four layers, and a copy of it.
fn files(model_type: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let shape = json!({"model_type": model_type, "num_hidden_layers": 4, "linear_num_key_heads": 2,
        "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8});
    let shape = match model_type {
        "qwen3_5_text" => shape,
        _ => json!({"model_type": model_type, "num_hidden_layers": 4}),
    };
    let (dir, source) = model(&config_with(shape));
    let path = dir.path().join("m.gguf");
    save_gguf(&path, &source, GgufDtype::F32, "m", keep).unwrap();
    let copy = dir.path().join("copy.gguf");
    (dir, path, copy)
}

/// The file with a fifth block, the fourth's again and what a predictor has beside it, and metadata that say `further`.
fn with_block(from: &Path, to: &Path, further: &Value, blocks: u32) {
    let file = GgufFile::open(from).unwrap();
    let architecture = file.metadata("general.architecture").unwrap();
    let architecture = architecture.as_str().unwrap().to_owned();
    let count = format!("{architecture}.block_count");
    let mut metadata: Vec<_> = file
        .all_metadata()
        .map(|(key, value)| match key == count {
            true => (key.to_owned(), Value::U32(blocks)),
            false => (key.to_owned(), value.clone()),
        })
        .collect();
    let key = format!("{architecture}.nextn_predict_layers");
    metadata.push((key, further.clone()));
    let tensor = |source: &str, name: String| GgufTensor {
        name,
        shape: file.tensor(source).unwrap().shape().to_vec(),
        dtype: GgufDtype::F32,
    };
    let mut sources: Vec<(String, GgufTensor)> = Vec::new();
    for name in file.tensor_names() {
        sources.push((name.to_owned(), tensor(name, name.to_owned())));
        if let Some(part) = name.strip_prefix("blk.3.") {
            sources.push((name.to_owned(), tensor(name, format!("blk.4.{part}"))));
        }
    }
    let norm = "blk.3.attn_norm.weight";
    let own = tensor(norm, "blk.4.nextn.enorm.weight".to_owned());
    sources.push((norm.to_owned(), own));
    let tensors: Vec<GgufTensor> = sources.iter().map(|(_, tensor)| tensor.clone()).collect();
    write_gguf(to, &metadata, &tensors, |index, first, rows| {
        let source = file.tensor(&sources[index].0).unwrap();
        source.read_rows(first, rows);
        Ok::<_, lora_checkpoint::Error>(())
    })
    .unwrap();
}

#[test]
fn a_block_that_predicts_further_tokens_is_no_layer() {
    let (dir, path, copy) = files("qwen3_5_text");
    with_block(&path, &copy, &Value::U32(1), 5);
    let (plain, read) = (
        Checkpoint::open(&path).unwrap(),
        Checkpoint::open(&copy).unwrap(),
    );
    assert_eq!(read.config(), plain.config());
    assert_eq!(read.config().num_hidden_layers, 4);
    for name in plain.tensor_names() {
        let values = |from: &Checkpoint| from.tensor(&name).unwrap().to_f32();
        assert_eq!(values(&read), values(&plain), "{name}");
    }
    // What is made of it has the decoder alone, and says nothing else.
    let again = dir.path().join("again.gguf");
    save_gguf(&again, &read, GgufDtype::F32, "m", keep).unwrap();
    let key = "qwen35.nextn_predict_layers";
    assert!(GgufFile::open(&again).unwrap().metadata(key).is_none());
    assert_eq!(Checkpoint::open(&again).unwrap().config(), plain.config());
}

#[test]
fn numbers_of_predictors_that_make_no_sense_are_refused() {
    let (_dir, path, copy) = files("qwen3_5_text");
    for (further, said) in [
        (Value::U32(5), "no layer is left"),
        (Value::U32(u32::MAX), "no layer is left"),
        (Value::String("one".to_owned()), "is not a whole number"),
        (Value::U32(0), "unknown tensor blk.4"),
    ] {
        let blocks = if further == Value::U32(0) { 4 } else { 5 };
        with_block(&path, &copy, &further, blocks);
        let error = Checkpoint::open(&copy).unwrap_err();
        assert!(error.told().contains(said), "{error}");
    }
}

/// Here all that the fifth block has beside a layer's tensors would be unknown; without it the file would open with five.
#[test]
fn other_families_refuse_them_by_name() {
    let (_dir, path, copy) = files("llama");
    with_block(&path, &copy, &Value::U32(1), 5);
    let error = Checkpoint::open(&copy).unwrap_err().told();
    assert!(error.contains("llama.nextn_predict_layers is 1"), "{error}");
    assert!(error.contains("without these layers"), "{error}");
}
