//! An Ollama Modelfile from the model's own template.
use crate::harness::{export, receipt, stderr, tiny};
use std::path::Path;

#[test]
fn a_model_gets_its_template_and_its_stop_texts() {
    let dir = tempfile::tempdir().unwrap();
    let done = receipt(&export(
        dir.path(),
        &["--model", &tiny(), "--modelfile", "--out", "ollama"],
    ));
    assert_eq!(
        done["outputs"].as_array().unwrap().len(),
        2,
        "model.gguf and Modelfile: {done}"
    );
    let text = std::fs::read_to_string(dir.path().join("ollama/Modelfile")).unwrap();
    assert!(
        text.starts_with("FROM ./model.gguf\nTEMPLATE \"\"\"{{ $before := \"\" }}"),
        "{text}"
    );
    assert_eq!(text.matches("\"\"\"").count(), 2, "{text}");
    assert!(
        text.contains("{{ .System }}") && text.contains("{{ .Content }}"),
        "{text}"
    );
    let eos = lora_checkpoint::Checkpoint::open(Path::new(&tiny()))
        .unwrap()
        .tokenizer()
        .unwrap()
        .eos_token
        .unwrap();
    assert!(
        text.contains(&format!("PARAMETER stop \"{eos}\"\n")),
        "{text}"
    );
}

#[test]
fn a_modelfile_needs_a_folder_and_a_template() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |args: &[&str], words: &str| {
        let output = export(dir.path(), args);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains(words) && stderr(&output).contains("hint:"),
            "{}",
            stderr(&output)
        );
        assert!(!dir.path().join("out").exists() && !dir.path().join("out.partial").exists());
    };
    refused(
        &["--model", &tiny(), "--modelfile", "--out", "m.gguf"],
        "in a folder",
    );
    refused(
        &[
            "--model",
            &tiny(),
            "--modelfile",
            "--format",
            "hf",
            "--out",
            "out",
        ],
        "in a folder",
    );
    let bare = dir.path().join("bare");
    std::fs::create_dir(&bare).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(Path::new(&tiny()).join(file), bare.join(file)).unwrap();
    }
    refused(
        &["--model", "bare", "--modelfile", "--out", "out"],
        "no chat template",
    );
    std::fs::write(
        bare.join("chat_template.jinja"),
        "{{ messages | length }}{{ messages[0].content }}",
    )
    .unwrap();
    refused(
        &["--model", "bare", "--modelfile", "--out", "out"],
        "can't be translated",
    );
}

#[test]
fn the_commands_that_run_the_result_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let next = |args: &[&str]| -> Vec<String> {
        let output = export(dir.path(), args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let lines = said.lines().filter_map(|line| line.strip_prefix("next: "));
        lines.map(str::to_owned).collect()
    };
    let of_model = next(&["--model", &tiny(), "--modelfile", "--out", "to ollama"]);
    assert_eq!(
        of_model,
        [
            "ollama create tiny-chat -f 'to ollama/Modelfile' && ollama run tiny-chat",
            "llama-cli -m 'to ollama/model.gguf' --jinja",
        ]
    );
    assert_eq!(
        next(&["--model", &tiny(), "--out", "m.gguf"]),
        ["llama-cli -m m.gguf --jinja"]
    );
    assert!(next(&["--model", &tiny(), "--format", "hf", "--out", "hf"]).is_empty());
}
