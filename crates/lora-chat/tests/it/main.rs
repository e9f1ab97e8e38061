//! lora-chat through its binary: prompts in, answers out.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod serve;
mod server;

use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const CASE: &str = "llama_gqa_tied";

fn case() -> PathBuf {
    lora_testkit::repository("tests/fixtures/golden").join(CASE)
}

/// The golden base with a tokenizer of words, and a template of words.
fn base(dir: &Path) -> PathBuf {
    let base = dir.join("base");
    std::fs::create_dir(&base).unwrap();
    for entry in std::fs::read_dir(case().join("base")).unwrap() {
        let file = entry.unwrap().path();
        std::fs::copy(&file, base.join(file.file_name().unwrap())).unwrap();
    }
    let config: Value =
        serde_json::from_slice(&std::fs::read(base.join("config.json")).unwrap()).unwrap();
    let word = |id: u64| match id {
        2 => "<end>".to_owned(),
        3 => "user".to_owned(),
        4 => "assistant".to_owned(),
        5 => "system".to_owned(),
        id => format!("w{id}"),
    };
    let ids = 0..config["vocab_size"].as_u64().unwrap();
    let vocab: serde_json::Map<_, _> = ids.map(|id| (word(id), Value::from(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": 2, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"},
    });
    std::fs::write(base.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let template = "{% for m in messages %}{{ m.role }} {{ m.content }} <end> {% endfor %}{% if add_generation_prompt %}assistant {% endif %}";
    let config = json!({"chat_template": template, "eos_token": "<end>"});
    std::fs::write(base.join("tokenizer_config.json"), config.to_string()).unwrap();
    base
}

struct Chat {
    dir: tempfile::TempDir,
    base: PathBuf,
}

impl Chat {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = base(dir.path());
        Self { dir, base }
    }

    fn say(&self, input: &str, flags: &[&str]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lora-chat"))
            .current_dir(self.dir.path())
            .args(["--threads", "1", "--max-new-tokens", "6", "--base"])
            .arg(&self.base)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }
}

#[track_caller]
fn lines(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn adapter() -> String {
    case().join("adapter_trained").to_str().unwrap().to_owned()
}

#[test]
fn text_is_answered_by_text_and_json_by_json() {
    let chat = Chat::new();
    let text = lines(&chat.say("w10 w11\n\nw12 w13\n", &[]));
    assert_eq!(text.len(), 2);
    let rows = "{\"prompt\": \"w10 w11\", \"id\": 7}\n{\"messages\": [{\"role\": \"user\", \"content\": \"w12 w13\"}]}\n";
    let answers: Vec<Value> = lines(&chat.say(rows, &[]))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&answers[0]["id"], &answers[1]["id"]),
        (&json!(7), &Value::Null)
    );
    for (answer, text) in answers.iter().zip(&text) {
        assert_eq!(
            (&answer["answer"], &answer["model"]),
            (&json!(text), &json!("base"))
        );
        let reason = answer["finish_reason"].as_str().unwrap();
        assert!(["stop", "length"].contains(&reason));
        assert_eq!(reason == "length", answer["tokens"] == 6, "{answer}");
    }
}

#[test]
fn the_adapter_answers_and_the_base_does_not() {
    let chat = Chat::new();
    let prompts = "w10 w11\nw12 w13\nw20 w21\n";
    let of_base = lines(&chat.say(prompts, &[]));
    let of_adapter = lines(&chat.say(prompts, &["--adapter", &adapter()]));
    assert_ne!(of_base, of_adapter);
    let row = lines(&chat.say("{\"prompt\": \"w10 w11\"}", &["--adapter", &adapter()]));
    let row: Value = serde_json::from_str(&row[0]).unwrap();
    assert_eq!(
        (&row["model"], &row["answer"]),
        (&json!("adapter_trained"), &json!(of_adapter[0]))
    );
}

#[test]
fn a_drawn_answer_hangs_on_its_prompt_and_seed_alone() {
    let chat = Chat::new();
    let drawn = |prompts: &str, seed: &str| {
        lines(&chat.say(prompts, &["--temperature", "1.5", "--seed", seed]))
    };
    let both = drawn("w10 w11\nw12 w13\n", "3");
    let turned = drawn("w12 w13\nw10 w11\n", "3");
    assert_eq!((&both[0], &both[1]), (&turned[1], &turned[0]));
    assert_eq!(drawn("w10 w11\n", "3")[0], both[0], "alone as in company");
    assert_ne!(drawn("w10 w11\nw12 w13\n", "4"), both);
}

#[test]
fn a_stop_text_ends_an_answer_and_is_no_part_of_it() {
    let chat = Chat::new();
    let whole = lines(&chat.say("w10 w11\n", &[])).remove(0);
    let word = whole.split(' ').nth(2).unwrap();
    let cut = lines(&chat.say("{\"prompt\": \"w10 w11\"}\n", &["--stop", word])).remove(0);
    let cut: Value = serde_json::from_str(&cut).unwrap();
    let before = whole.find(word).unwrap();
    assert_eq!(cut["answer"].as_str().unwrap(), whole[..before].trim_end());
    assert_eq!(cut["finish_reason"], "stop");
}

#[test]
fn a_system_text_is_part_of_the_prompt() {
    let chat = Chat::new();
    let flag = lines(&chat.say(
        "w10 w11\n",
        &["--system", "w30 w31", "--adapter", &adapter()],
    ));
    let row = lines(&chat.say(
        "{\"prompt\": \"w10 w11\", \"system\": \"w30 w31\"}\n",
        &["--adapter", &adapter()],
    ));
    let row: Value = serde_json::from_str(&row[0]).unwrap();
    assert_eq!(row["answer"].as_str().unwrap(), flag[0]);
    assert_ne!(
        lines(&chat.say("w10 w11\n", &["--adapter", &adapter()])),
        flag
    );
}

#[test]
fn what_can_not_be_answered_is_an_error_with_its_line() {
    let chat = Chat::new();
    for (input, flags, wanted) in [
        ("w10\n{\"prompt\"\n", &[][..], "standard input, line 2"),
        ("{\"text\": 1}\n", &[], "neither `prompt` nor `messages`"),
        (
            "w10\n",
            &["--top-k", "3"],
            "no effect without --temperature",
        ),
        ("w10\n", &["--adapter", "nowhere"], "nowhere"),
    ] {
        let output = chat.say(input, flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}
