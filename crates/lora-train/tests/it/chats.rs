//! How the rows' chats are written goes with what is trained on them.
use crate::harness::{example, run, train};
use lora_checkpoint::{Chat, Checkpoint, Error, GgufDtype, save_gguf};
use lora_data::Split;
use lora_model::trained_chat;
use serde_json::Value;
use std::path::Path;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny-chat");

fn other() -> Chat {
    Chat {
        template: Some(" {{ messages }}ä\r\n\n".to_owned()),
        system: Some("Be\nbrief.".to_owned()),
    }
}

/// A dataset for the embedded model, as lora-prep writes it.
fn dataset(dir: &Path, chat: Option<Chat>) -> String {
    let data = dir.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let tiny = Checkpoint::open(TINY.as_ref()).unwrap();
    let row = |n: u32| example((0..12).map(|t| 40 + (n * 7 + t * 3) % 200).collect(), 4);
    let split = Split {
        examples: (0..8).map(row).collect(),
        tokenizer_sha256: Some(tiny.tokenizer().unwrap().sha256),
        template_sha256: chat.as_ref().and_then(Chat::template_sha256),
        chat,
    };
    split.write(&data.join("train.parquet")).unwrap();
    data.display().to_string()
}

fn args<'a>(base: &'a str, data: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "--base", base, "--data", data, "--out", out, "--steps", "2", "--rank", "2",
    ];
    [&args[..if more.contains(&"full") { 8 } else { 10 }], more].concat()
}

fn result(lines: &[Value]) -> &Value {
    &lines[lines.len() - 1]["results"]["chat"]
}

fn stderr(args: &[&str]) -> String {
    String::from_utf8(run(args).stderr).unwrap()
}

#[test]
fn an_adapter_has_the_tokenizer_with_the_rows_chats() {
    let dir = tempfile::tempdir().unwrap();
    let gguf = dir.path().join("base.gguf");
    let tiny = Checkpoint::open(TINY.as_ref()).unwrap();
    save_gguf::<Error>(&gguf, &tiny, GgufDtype::BF16, "tiny", |_| Ok(())).unwrap();
    for (number, base) in [TINY, gguf.to_str().unwrap()].into_iter().enumerate() {
        for chat in [other(), tiny.chat().unwrap(), Chat::default()] {
            let data = dataset(dir.path(), Some(chat.clone()));
            let out = dir.path().join(format!("out{number}"));
            let lines = train(&args(base, &data, out.to_str().unwrap(), &["--force"]));
            assert_eq!(Chat::of_folder(&out).unwrap(), chat);
            assert_eq!(
                trained_chat(&out).unwrap(),
                Some(chat.clone()),
                "none is known, too"
            );
            let checkpoint = out.join("checkpoints/last");
            assert_eq!(trained_chat(&checkpoint).unwrap(), Some(chat.clone()));
            assert!(out.join("tokenizer.json").is_file());
            assert!(out.join("tokenizer_config.json").is_file());
            let saved = result(&lines);
            assert_eq!(saved["of"], "data");
            assert_eq!(saved["system"].as_str(), chat.system.as_deref());
            let hash = chat.template_sha256();
            assert_eq!(saved["template_sha256"].as_str(), hash.as_deref());
        }
    }
}

#[test]
fn chats_that_are_not_the_bases_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    let data = dataset(dir.path(), Some(other()));
    let said = stderr(&args(TINY, &data, first, &[]));
    assert!(said.contains("and the base has chat template"), "{said}");
    let own = Checkpoint::open(TINY.as_ref()).unwrap().chat().unwrap();
    let data = dataset(dir.path(), Some(own));
    let go_on = [
        "--base",
        TINY,
        "--data",
        &data,
        "--steps",
        "2",
        "--adapter",
        first,
        "--out",
        second,
    ];
    let said = stderr(&go_on);
    assert!(!said.contains("and the base has"), "{said}");
    assert!(
        said.contains("warning: ") && said.contains("these rows are written with"),
        "{said}"
    );
}

#[test]
fn nothing_is_made_up_for_rows_that_do_not_say() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), None);
    let out = dir.path().join("out");
    // A dataset of before: the hash of a template and not its source.
    let file = Path::new(&data).join("train.parquet");
    let mut split = Split::read(&file, "train").unwrap();
    (split.chat, split.template_sha256) = (None, Some("0".repeat(64)));
    split.write(&file).unwrap();
    let run = args(TINY, &data, out.to_str().unwrap(), &["--force"]);
    assert!(stderr(&run).contains("does not say how its chats are written"));
    assert!(!out.join("tokenizer.json").exists() && trained_chat(&out).unwrap().is_none());
    let own = Checkpoint::open(TINY.as_ref()).unwrap().chat().unwrap();
    split.template_sha256 = own.template_sha256();
    split.write(&file).unwrap();
    train(&run);
    assert_eq!(
        trained_chat(&out).unwrap(),
        Some(own),
        "it is the base's own"
    );
}

#[test]
fn held_out_rows_of_another_template_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), Some(other()));
    let (train, valid) = (
        Path::new(&data).join("train.parquet"),
        Path::new(&data).join("valid.parquet"),
    );
    std::fs::rename(&train, valid).unwrap();
    dataset(dir.path(), Some(Chat::default()));
    let out = dir.path().join("out");
    let said = stderr(&args(TINY, &data, out.to_str().unwrap(), &[]));
    assert!(
        said.contains("different chat templates") && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn a_model_that_is_trained_whole_has_the_rows_chats_in_every_folder() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), Some(other()));
    let out = dir.path().join("out");
    train(&args(
        TINY,
        &data,
        out.to_str().unwrap(),
        &["--method", "full"],
    ));
    for folder in [out.clone(), out.join("checkpoints/last")] {
        let model = Checkpoint::open(&folder).unwrap();
        assert_eq!(model.chat().unwrap(), other(), "{}", folder.display());
        assert!(model.tokenizer().is_ok());
    }
}
