//! The chats that an adapter was trained with go into every file that is made of it.
use crate::harness::{export, receipt, stderr, tiny};
use lora_checkpoint::{Chat, Checkpoint};
use lora_core::{Adapter, LoraConfig, TargetModules};
use lora_model::{Base, trained_chat};
use std::path::{Path, PathBuf};

const TEMPLATE: &str = "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}{{ eos_token }}\n{% endfor %}{% if \
                        add_generation_prompt %}[assistant]\n{% endif %}\n";

/// An adapter on the embedded model, with tokenizer files as TRL saves them.
fn adapter(dir: &Path, chat: Option<&Chat>) -> PathBuf {
    let base = Base::open(tiny().as_ref()).unwrap();
    let config = LoraConfig::new(2, 4.0, TargetModules::AllLinear);
    let path = dir.join("adapter");
    std::fs::create_dir(&path).unwrap();
    Adapter::init(config, &base, 1)
        .unwrap()
        .save(&path)
        .unwrap();
    if let Some(chat) = chat {
        base.checkpoint().tokenizer().unwrap().write(&path).unwrap();
        chat.write(&path).unwrap();
    }
    path
}

fn other() -> Chat {
    Chat {
        template: Some(TEMPLATE.to_owned()),
        system: Some("Be \"brief\".\nNow.".to_owned()),
    }
}

/// Exports the adapter; what was said.
fn exported(dir: &Path, from: &str, more: &[&str]) -> String {
    let base = tiny();
    let args = ["--adapter", from, "--base", &base];
    let output = export(dir, &[&args[..], more].concat());
    let result = receipt(&output);
    assert_eq!(result["results"]["chat"]["of"], "adapter");
    assert_eq!(result["results"]["chat"]["system"], other().system.unwrap());
    stderr(&output)
}

#[test]
fn every_format_of_an_adapter_keeps_its_chats() {
    let dir = tempfile::tempdir().unwrap();
    adapter(dir.path(), Some(&other()));
    for (from, format, to, reader) in [
        ("adapter", "gguf", "a.gguf", "llama.cpp takes the latter"),
        ("a.gguf", "peft", "peft", "the output has the former"),
        ("peft", "mlx", "mlx", "mlx-lm takes the latter"),
        ("mlx", "gguf", "again.gguf", "llama.cpp takes the latter"),
    ] {
        let said = exported(dir.path(), from, &["--format", format, "--out", to]);
        assert!(said.contains("was trained with chat template"), "{said}");
        assert!(said.contains(reader), "{said}");
        let kept = trained_chat(&dir.path().join(to)).unwrap();
        assert_eq!(kept, Some(other()), "{to}");
    }
}

#[test]
fn a_modelfile_has_the_adapters_template_and_system_text() {
    let dir = tempfile::tempdir().unwrap();
    adapter(dir.path(), Some(&other()));
    let said = exported(dir.path(), "adapter", &["--modelfile", "--out", "ollama"]);
    assert!(said.contains("the Modelfile has the former"), "{said}");
    let text = std::fs::read_to_string(dir.path().join("ollama/Modelfile")).unwrap();
    assert!(
        text.contains("[user]\n") && !text.contains("<|im_start|>user"),
        "{text}"
    );
    assert!(
        text.contains("\nSYSTEM \"\"\"Be \"brief\".\nNow.\"\"\"\n"),
        "{text}"
    );
}

#[test]
fn a_system_text_that_no_modelfile_holds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let quoted = Chat {
        system: Some("a \"\"\" b".to_owned()),
        ..other()
    };
    adapter(dir.path(), Some(&quoted));
    let args = [
        "--adapter",
        "adapter",
        "--base",
        &tiny(),
        "--modelfile",
        "--out",
        "out",
    ];
    let output = export(dir.path(), &args);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("three quotation marks"),
        "{}",
        stderr(&output)
    );
    assert!(!dir.path().join("out").exists());
}

#[test]
fn an_adapter_that_says_nothing_is_said_to_have_its_bases_template() {
    let dir = tempfile::tempdir().unwrap();
    adapter(dir.path(), None);
    let args = [
        "--adapter",
        "adapter",
        "--base",
        &tiny(),
        "--modelfile",
        "--out",
        "out",
    ];
    let output = export(dir.path(), &args);
    assert_eq!(receipt(&output)["results"]["chat"]["of"], "base");
    let said = stderr(&output);
    assert!(
        said.contains("adapter does not say which chat template it was trained with"),
        "{said}"
    );
}

#[test]
fn a_model_keeps_its_system_text_on_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let base = Checkpoint::open(tiny().as_ref()).unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(tiny()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    other().write(&model).unwrap();
    for (from, format, to) in [
        ("model", "gguf", "m.gguf"),
        ("m.gguf", "hf", "hf"),
        ("hf", "gguf", "again.gguf"),
        ("again.gguf", "gguf", "third.gguf"),
    ] {
        let output = export(
            dir.path(),
            &["--model", from, "--format", format, "--out", to],
        );
        assert_eq!(
            receipt(&output)["results"]["chat"]["system"],
            other().system.unwrap()
        );
        let said = stderr(&output);
        assert!(said.contains("trained with the system text"), "{said}");
        let written = Checkpoint::open(&dir.path().join(to)).unwrap();
        assert_eq!(written.chat().unwrap(), other(), "{to}");
        assert_eq!(written.tensor_names(), base.tensor_names());
    }
}
