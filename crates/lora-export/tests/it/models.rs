//! Models: what is written opens again as the same model.
use crate::harness::{export, export_piped, receipt, tiny};
use lora_checkpoint::gguf::Value;
use lora_checkpoint::{Checkpoint, Format};

fn same(a: &Checkpoint, b: &Checkpoint) {
    assert_eq!(a.config(), b.config());
    assert_eq!(a.tensor_names(), b.tensor_names());
    for name in a.tensor_names() {
        assert_eq!(
            a.tensor(&name).unwrap().to_f32(),
            b.tensor(&name).unwrap().to_f32(),
            "{name}"
        );
    }
    assert_eq!(a.tokenizer().unwrap().sha256, b.tokenizer().unwrap().sha256);
    assert_eq!(
        a.tokenizer().unwrap().chat_template,
        b.tokenizer().unwrap().chat_template
    );
}

#[test]
fn a_folder_becomes_a_gguf_file_and_a_folder_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let done = receipt(&export(
        dir.path(),
        &["--model", &tiny(), "--out", "tiny.gguf"],
    ));
    assert_eq!(done["artefact"], "gguf");
    assert_eq!(done["config"]["dtype"], "bf16");
    assert!(at("tiny.gguf.receipt.json").is_file());
    let (source, gguf) = (
        Checkpoint::open(tiny().as_ref()).unwrap(),
        Checkpoint::open(&at("tiny.gguf")).unwrap(),
    );
    same(&gguf, &source);
    let done = receipt(&export(
        dir.path(),
        &["--model", "tiny.gguf", "--format", "hf", "--out", "hf"],
    ));
    assert_eq!(done["artefact"], "model");
    let back = Checkpoint::open(&at("hf")).unwrap();
    assert_eq!(back.format(), Format::HuggingFace);
    same(&back, &source);
}

#[test]
fn metadata_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    receipt(&export(
        dir.path(),
        &[
            "--model",
            &tiny(),
            "--dtype",
            "q8_0",
            "--name",
            "Tiny Chat",
            "--out",
            "out",
        ],
    ));
    let gguf = Checkpoint::open(&dir.path().join("out/model.gguf")).unwrap();
    let text = |key: &str| {
        gguf.metadata(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    assert_eq!(text("general.name").as_deref(), Some("Tiny Chat"));
    assert_eq!(text("general.type").as_deref(), Some("model"));
    assert_eq!(text("tokenizer.ggml.model").as_deref(), Some("gpt2"));
    assert_eq!(text("tokenizer.ggml.pre").as_deref(), Some("smollm"));
    assert!(text("tokenizer.chat_template").is_some());
    let number = |key: &str| gguf.metadata(key).and_then(Value::as_u64);
    assert_eq!(number("general.file_type"), Some(7));
    assert_eq!(number("general.quantization_version"), Some(2));
    let ids = ["bos", "eos", "unknown", "padding"]
        .map(|n| number(&format!("tokenizer.ggml.{n}_token_id")));
    assert_eq!(ids, [Some(1), Some(2), Some(0), Some(2)]);
    let kinds = match gguf.metadata("tokenizer.ggml.token_type") {
        Some(Value::I32s(kinds)) => kinds.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(kinds.len(), gguf.config().vocab_size);
    assert_eq!(kinds[..4], [3, 3, 3, 1]);
}

#[test]
fn the_same_export_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--model", &tiny(), "--dtype", "f16", "--out", "m.gguf"];
    let first = receipt(&export(dir.path(), &args));
    let refused = export(dir.path(), &args);
    assert_eq!(refused.status.code(), Some(2));
    let again = receipt(&export(dir.path(), &[&args[..], &["--force"]].concat()));
    assert_eq!(first["outputs"], again["outputs"]);
}

#[test]
fn a_model_comes_through_the_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = export(
        dir.path(),
        &["--model", &tiny(), "--format", "hf", "--out", "m", "--json"],
    );
    let lines = String::from_utf8(upstream.stdout.clone()).unwrap();
    receipt(&upstream);
    let done = receipt(&export_piped(
        dir.path(),
        &lines,
        &["--model", "-", "--out", "m.gguf"],
    ));
    assert_eq!(done["inputs"][0]["path"], "m");
    let wrong = export_piped(
        dir.path(),
        &lines,
        &["--adapter", "-", "--base", "m", "--out", "a.gguf"],
    );
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        String::from_utf8(wrong.stderr)
            .unwrap()
            .contains("expected an adapter on stdin")
    );
}
