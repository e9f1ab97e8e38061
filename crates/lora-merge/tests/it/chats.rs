//! The chats that an adapter was trained with go into the merged model, and into adapters made of it.
use crate::harness::{merge, receipt, stderr};
use lora_checkpoint::{Chat, Checkpoint, Error, GgufDtype};
use lora_core::{Adapter, LoraConfig, TargetModules};
use lora_model::{Base, trained_chat};
use lora_testkit::tiny_chat;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn chat(template: &str, system: Option<&str>) -> Chat {
    Chat {
        template: Some(template.to_owned()),
        system: system.map(str::to_owned),
    }
}

/// An adapter on the embedded model, with tokenizer files as TRL saves them.
fn adapter(dir: &Path, name: &str, chat: Option<&Chat>) -> PathBuf {
    let base = Base::open(&tiny_chat()).unwrap();
    let config = LoraConfig::new(2, 4.0, TargetModules::AllLinear);
    let path = dir.join(name);
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

/// Merges; the receipt's results and what was said.
fn merged(dir: &Path, adapter: &Path, more: &[&str]) -> (Value, String) {
    let output = merge(
        dir,
        Some(&tiny_chat()),
        adapter,
        &[&["--force"], more].concat(),
    );
    (receipt(&output)["results"]["chat"].clone(), stderr(&output))
}

#[test]
fn the_merged_model_has_the_adapters_chats() {
    let dir = tempfile::tempdir().unwrap();
    let other = chat(" {{ messages }}\r\n\n", Some("Be brief."));
    let adapter = adapter(dir.path(), "adapter", Some(&other));
    let (result, said) = merged(dir.path(), &adapter, &[]);
    let model = Checkpoint::open(&dir.path().join("out")).unwrap();
    assert_eq!(model.chat().unwrap(), other);
    assert_eq!(model.tokenizer().unwrap().chat_template, other.template);
    assert_eq!(result["of"], "adapter");
    assert_eq!(result["template_sha256"], other.template_sha256().unwrap());
    assert!(said.contains("and its base has chat template"), "{said}");
    assert!(
        said.contains("trained with the system text \"Be brief.\""),
        "{said}"
    );
}

/// Rows that end answers with another token than those at which the base stops: a model that learned them must stop there.
#[test]
fn what_is_merged_stops_where_the_rows_end() {
    let own = Checkpoint::open(&tiny_chat()).unwrap();
    let end = own
        .tokenizer()
        .unwrap()
        .tokenizer
        .token_to_id("<|endoftext|>");
    let end = end.unwrap();
    assert!(!own.config().eos_token_ids.contains(&end));
    let other = chat(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|endoftext|>{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        None,
    );
    let dir = tempfile::tempdir().unwrap();
    let adapter = adapter(dir.path(), "adapter", Some(&other));
    let (_, said) = merged(dir.path(), &adapter, &[]);
    assert!(said.contains("end answers with <|endoftext|>"), "{said}");
    let out = dir.path().join("out");
    let generation = std::fs::read(out.join("generation_config.json")).unwrap();
    let generation: Value = serde_json::from_slice(&generation).unwrap();
    let mut ends = own.config().eos_token_ids.clone();
    ends.push(end);
    assert_eq!(generation["eos_token_id"], serde_json::json!(ends));
    assert_eq!(Checkpoint::open(&out).unwrap().config().eos_token_ids, ends);

    let gguf = dir.path().join("base.gguf");
    lora_checkpoint::save_gguf(&gguf, &own, GgufDtype::Q8_0, "m", |_| Ok::<(), Error>(())).unwrap();
    let to_file = ["--out", "merged.gguf"];
    let output = crate::own_types::merge(dir.path(), &gguf, &adapter, &to_file);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let file = lora_checkpoint::gguf::GgufFile::open(&dir.path().join("merged.gguf")).unwrap();
    let eot = file.metadata("tokenizer.ggml.eot_token_id").unwrap();
    assert_eq!(eot.as_u64(), Some(u64::from(end)));
    let merged = Checkpoint::open(&dir.path().join("merged.gguf")).unwrap();
    assert_eq!(merged.config().eos_token_ids, ends);
    assert_eq!(merged.chat().unwrap().template, other.template);
}

#[test]
fn an_adapter_with_its_bases_chats_changes_no_file_and_no_word_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let own = Checkpoint::open(&tiny_chat()).unwrap().chat().unwrap();
    let adapter = adapter(dir.path(), "adapter", Some(&own));
    let (result, said) = merged(dir.path(), &adapter, &[]);
    assert_eq!(result["of"], "adapter");
    assert!(!said.contains("chat template"), "{said}");
    for file in [
        "chat_template.jinja",
        "tokenizer_config.json",
        "tokenizer.json",
    ] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(
            read(&dir.path().join("out")) == read(&tiny_chat()),
            "{file}"
        );
    }
}

#[test]
fn what_is_not_known_of_an_adapter_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let silent = adapter(dir.path(), "silent", None);
    // Other tools leave the template out for many reasons: that is not "none".
    let without = adapter(dir.path(), "without", Some(&Chat::default()));
    let own = Checkpoint::open(&tiny_chat()).unwrap().chat().unwrap();
    for adapter in [silent, without] {
        assert_eq!(trained_chat(&adapter).unwrap(), None);
        let (result, said) = merged(dir.path(), &adapter, &[]);
        assert_eq!(result["of"], "base");
        assert!(
            said.contains("does not say which chat template it was trained with"),
            "{said}"
        );
        let model = Checkpoint::open(&dir.path().join("out")).unwrap();
        assert_eq!(model.chat().unwrap(), own);
    }
}

#[test]
fn adapters_that_were_trained_in_different_ways_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (chat("{{ messages }}a", None), chat("{{ messages }}b", None));
    let first = adapter(dir.path(), "first", Some(&a));
    let second = adapter(dir.path(), "second", Some(&b));
    let second = second.display().to_string();
    for more in [
        &["--adapter", &second][..],
        &["--adapter", &second, "--to-adapter"],
    ] {
        let (_, said) = merged(dir.path(), &first, more);
        assert!(
            said.contains("warning: ") && said.contains("the latter is what the output has"),
            "{said}"
        );
    }
    assert_eq!(trained_chat(&dir.path().join("out")).unwrap(), Some(a));
}
