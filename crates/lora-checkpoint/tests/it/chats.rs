//! Chat template and system text go from file to file, to the byte, and can be replaced.
use lora_checkpoint::{Chat, Checkpoint, Error, GgufDtype, SaveDtype, save_folder, save_gguf};
use serde_json::{Value, json};
use std::path::Path;

/// With white space at its ends and letters of several bytes.
const TEMPLATE: &str = " {{ messages }}ä🦀\r\n\n";

fn chat(template: Option<&str>, system: Option<&str>) -> Chat {
    Chat {
        template: template.map(str::to_owned),
        system: system.map(str::to_owned),
    }
}

fn to_folder(model: &Checkpoint, dir: &Path) -> Checkpoint {
    std::fs::create_dir(dir).unwrap();
    save_folder::<Error>(dir, model, SaveDtype::BF16, |_, _, _| Ok(())).unwrap();
    Checkpoint::open(dir).unwrap()
}

fn to_gguf(model: &Checkpoint, path: &Path) -> Checkpoint {
    save_gguf::<Error>(path, model, GgufDtype::BF16, "m", |_| Ok(())).unwrap();
    Checkpoint::open(path).unwrap()
}

#[test]
fn other_chats_reach_every_format_from_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Checkpoint::open(&lora_testkit::tiny_chat()).unwrap();
    to_gguf(&folder, &dir.path().join("own.gguf"));
    let own = folder.chat().unwrap();
    assert!(own.template.is_some() && own.system.is_none());
    let sources = [lora_testkit::tiny_chat(), dir.path().join("own.gguf")];
    for (number, source) in sources.iter().enumerate() {
        assert_eq!(Checkpoint::open(source).unwrap().chat().unwrap(), own);
        for (case, other) in [
            chat(Some(TEMPLATE), Some("Be\n\"brief\".")),
            chat(Some(TEMPLATE), None),
            chat(None, None),
        ]
        .into_iter()
        .enumerate()
        {
            let place = |name: &str| dir.path().join(format!("{number}{case}{name}"));
            let model = Checkpoint::open(source).unwrap().with_chat(other.clone());
            let written = to_folder(&model, &place("hf"));
            assert_eq!(written.chat().unwrap(), other);
            assert_eq!(written.tokenizer().unwrap().chat_template, other.template);
            let again = to_gguf(&written, &place("hf.gguf"));
            assert_eq!(again.chat().unwrap(), other, "without being told");
            assert_eq!(to_gguf(&model, &place(".gguf")).chat().unwrap(), other);
            assert_eq!(to_folder(&again, &place("back")).chat().unwrap(), other);
        }
    }
}

/// A copy of the embedded model whose tokenizer_config.json has a chat template as well.
fn with_settings(dir: &Path, template: Value) {
    std::fs::create_dir(dir).unwrap();
    for entry in std::fs::read_dir(lora_testkit::tiny_chat()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
    std::fs::remove_file(dir.join(Chat::TEMPLATE_FILE)).unwrap();
    let path = dir.join("tokenizer_config.json");
    let mut settings = lora_testkit::json(&path);
    settings["chat_template"] = template;
    std::fs::write(path, settings.to_string()).unwrap();
}

/// Some readers prefer the template of tokenizer_config.json to chat_template.jinja.
#[test]
fn no_old_template_stays_in_a_place_where_a_reader_may_look() {
    let dir = tempfile::tempdir().unwrap();
    for (number, own) in [
        json!("own"),
        json!([{"name": "default", "template": "own"}, {"name": "tool_use", "template": "tools"}]),
    ]
    .into_iter()
    .enumerate()
    {
        let base = dir.path().join(format!("base{number}"));
        with_settings(&base, own.clone());
        let model = Checkpoint::open(&base).unwrap();
        assert_eq!(model.chat().unwrap(), chat(Some("own"), None));
        let kept = dir.path().join(format!("kept{number}"));
        to_folder(&model, &kept);
        let settings = lora_testkit::json(&kept.join("tokenizer_config.json"));
        assert_eq!(settings["chat_template"], own, "unchanged");
        assert!(!kept.join(Chat::TEMPLATE_FILE).exists());
        for other in [Some(TEMPLATE), None] {
            let to = dir.path().join(format!("to{number}{}", other.is_some()));
            let model = Checkpoint::open(&base)
                .unwrap()
                .with_chat(chat(other, None));
            to_folder(&model, &to);
            let mut settings = lora_testkit::json(&to.join("tokenizer_config.json"));
            assert!(settings.get("chat_template").is_none(), "{settings}");
            settings["chat_template"] = own.clone();
            assert_eq!(
                settings,
                lora_testkit::json(&base.join("tokenizer_config.json"))
            );
            let written = std::fs::read_to_string(to.join(Chat::TEMPLATE_FILE)).ok();
            assert_eq!(written.as_deref(), other);
        }
    }
}

#[test]
fn a_gguf_file_keeps_no_named_template_beside_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.gguf");
    to_gguf(
        &Checkpoint::open(&lora_testkit::tiny_chat()).unwrap(),
        &path,
    );
    // A key of the same length in place of one that nobody misses.
    let key = b"tokenizer.ggml.add_space_prefix";
    let named = b"tokenizer.chat_template.tool_us";
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(key.len())
        .position(|part| part == key)
        .unwrap();
    bytes[at..at + key.len()].copy_from_slice(named);
    std::fs::write(&path, bytes).unwrap();
    let named = std::str::from_utf8(named).unwrap();
    let model = Checkpoint::open(&path).unwrap();
    let kept = to_gguf(&model, &dir.path().join("kept.gguf"));
    assert!(kept.metadata(named).is_some());
    let other = model.with_chat(chat(Some(TEMPLATE), None));
    let written = to_gguf(&other, &dir.path().join("other.gguf"));
    assert!(written.metadata(named).is_none());
}

#[test]
fn a_tokenizer_with_another_template_is_written_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let own = Checkpoint::open(&lora_testkit::tiny_chat())
        .unwrap()
        .tokenizer()
        .unwrap();
    own.clone()
        .with_chat_template(Some(TEMPLATE.into()))
        .write(dir.path())
        .unwrap();
    assert_eq!(
        Chat::of_folder(dir.path()).unwrap(),
        chat(Some(TEMPLATE), None)
    );
    let files = own.with_chat_template(None).write(dir.path()).unwrap();
    assert_eq!(Chat::of_folder(dir.path()).unwrap(), chat(None, None));
    assert!(files.iter().all(|file| file.is_file()), "{files:?}");
}
