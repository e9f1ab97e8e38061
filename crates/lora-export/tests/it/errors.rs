//! What cannot be exported: exit 2, one clear line, a hint, nothing half written.
use crate::harness::{export, golden, stderr, tiny};

#[test]
fn bad_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("empty.gguf"), "").unwrap();
    std::fs::write(at("wrong.gguf"), "GGML and more").unwrap();
    std::fs::create_dir(at("nothing")).unwrap();
    std::fs::write(at("file"), "x").unwrap();
    let whole = export(
        dir.path(),
        &["--model", &tiny(), "--dtype", "q8_0", "--out", "whole.gguf"],
    );
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    let bytes = std::fs::read(at("whole.gguf")).unwrap();
    std::fs::write(at("header.gguf"), &bytes[..5_000]).unwrap();
    std::fs::write(at("cut.gguf"), &bytes[..bytes.len() - 5_000]).unwrap();
    let (tiny, base, adapter) = (
        tiny(),
        golden("llama_gqa_tied/base"),
        golden("llama_gqa_tied/adapter"),
    );
    let model = |m: &'static str| vec!["--model", m];
    let cases = [
        (model("absent"), "failed to open"),
        (model("empty.gguf"), "the file is empty"),
        (model("wrong.gguf"), "not a GGUF file"),
        (model("header.gguf"), "ends in the middle"),
        (model("cut.gguf"), "beyond the end of the file"),
        (model("nothing"), "no config.json"),
        (vec!["--model", &adapter], "an adapter, not a model"),
        (vec!["--model", &base], "no tokenizer.json"),
        (vec!["--adapter", &adapter], "names its base"),
        (vec!["--adapter", &adapter, "--base", &tiny], "self_attn"),
        (
            vec!["--adapter", &adapter, "--base", &base, "--dtype", "q8_0"],
            "too narrow",
        ),
        (
            vec!["--adapter", &adapter, "--base", &base, "--format", "hf"],
            "is for models",
        ),
        (
            vec!["--model", &tiny, "--format", "hf", "--dtype", "q8_0"],
            "a type of GGUF files",
        ),
        (
            vec!["--model", &tiny, "--adapter", &adapter],
            "cannot be used with",
        ),
        (vec![], "required arguments"),
    ];
    for (args, message) in cases {
        let output = export(dir.path(), &[&args[..], &["--out", "out"]].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(message), "{args:?}: {said}");
        assert!(
            !at("out").exists() && !at("out.partial").exists(),
            "{args:?}"
        );
    }
    let output = export(dir.path(), &["--model", &tiny, "--out", "file/m.gguf"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
