//! Tokens added by lora-prep go the whole way: into the rows, the adapter, the merged model and the GGUF file.
use crate::session::Session;
use lora_testkit::{floats, json};
use serde_json::Value;
use std::path::Path;

/// Rows with a new token in the prompt and another in the answer.
fn rows() -> String {
    let row = |n: usize| {
        format!(
            "{{\"prompt\": \"<|ask|>what is {n}?\", \"completion\": \"<|say|>{}\"}}\n",
            n * 7 % 10
        )
    };
    (0..24).map(row).collect()
}

/// A session with a dataset with two tokens more than the model has.
fn prepared() -> Session {
    let mut session = Session::new();
    session.write("asked.jsonl", &rows());
    session.write("tokens.txt", "<|ask|>\n<|say|>\n");
    session.run("lora-prep asked.jsonl --base model --out data --add-tokens tokens.txt --quiet");
    session
}

/// Calls a tool that must succeed.
fn done(session: &mut Session, line: &str) {
    let before = session.said().len();
    session.run(line);
    let said = &session.said()[before..];
    assert!(!said.contains("[exit"), "{said}");
}

/// Calls a tool that must refuse, and says why with these words.
fn refused(session: &mut Session, line: &str, words: &[&str]) {
    let before = session.said().len();
    session.run(line);
    let said = session.said()[before..]
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(said.contains("[exit 2]"), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

/// Mean loss of the only model in a report that has an adapter, or of the base.
fn loss(report: &Path, name: &str) -> f64 {
    let report = json(report);
    let models = report["models"].as_array().unwrap();
    let model = models.iter().find(|model| model["name"] == name).unwrap();
    model["nll"].as_f64().unwrap()
}

fn has_token(folder: &Path, token: &str, id: u64) -> bool {
    let tokenizer = json(&folder.join("tokenizer.json"));
    let added: &Vec<Value> = tokenizer["added_tokens"].as_array().unwrap();
    added
        .iter()
        .any(|own| own["content"] == token && own["id"] == id)
}

#[test]
fn added_tokens_go_the_whole_way() {
    let mut session = prepared();
    done(
        &mut session,
        "lora-train --base model --data data --out adapter --rank 2 --steps 6 --lr 1e-2 --batch 4 --quiet --threads 1 --device cpu",
    );
    let config = json(&session.path("adapter/adapter_config.json"));
    assert_eq!(
        config["trainable_token_indices"],
        serde_json::json!([1078, 1079])
    );
    let tensors = floats(&session.path("adapter/adapter_model.safetensors"));
    let rows = tensors
        .iter()
        .find(|(name, ..)| name.ends_with("trainable_tokens_delta"));
    let (_, shape, values) = rows.unwrap();
    assert_eq!(shape, &[2, 128]);
    assert!(
        values[..128] != values[128..],
        "both began as the mean, and learned"
    );
    for folder in ["data/tokenizer", "adapter"] {
        assert!(
            has_token(&session.path(folder), "<|say|>", 1079),
            "{folder}"
        );
    }
    done(
        &mut session,
        "lora-eval --base model --data data --adapter adapter --out report --quiet --threads 1 --device cpu --max-new-tokens 4",
    );
    done(
        &mut session,
        "lora-merge --base model --adapter adapter --out merged --dtype f32 --data data --quiet",
    );
    assert_eq!(
        json(&session.path("merged/config.json"))["vocab_size"],
        1080
    );
    assert!(has_token(&session.path("merged"), "<|ask|>", 1078));
    done(
        &mut session,
        "lora-eval --base merged --data data --out report2 --quiet --threads 1 --device cpu --max-new-tokens 4",
    );
    let of_adapter = loss(&session.path("report/report.json"), "adapter");
    let of_merged = loss(&session.path("report2/report.json"), "base");
    assert!(
        (of_adapter - of_merged).abs() < 1e-4,
        "{of_adapter} {of_merged}"
    );
    done(
        &mut session,
        "lora-export --model merged --out m.gguf --quiet",
    );
    done(
        &mut session,
        "lora-export --model m.gguf --format hf --out hf --quiet",
    );
    assert_eq!(json(&session.path("hf/config.json"))["vocab_size"], 1080);
    assert!(has_token(&session.path("hf"), "<|say|>", 1079));
    // A run that goes on from the adapter trains its rows further.
    done(
        &mut session,
        "lora-train --base model --data data --adapter adapter --out again --steps 1 --quiet --threads 1 --device cpu",
    );
    let again = json(&session.path("again/adapter_config.json"));
    assert_eq!(
        again["trainable_token_indices"],
        config["trainable_token_indices"]
    );
}

#[test]
fn what_has_no_place_for_added_tokens_is_refused_by_name() {
    let mut session = prepared();
    done(
        &mut session,
        "lora-train --base model --data data --out adapter --rank 2 --steps 1 --quiet --threads 1 --device cpu",
    );
    done(
        &mut session,
        "lora-export --model model --out base.gguf --quiet",
    );
    let place = [
        "no place for trainable_token_indices",
        "lora-merge --adapter A",
    ];
    refused(
        &mut session,
        "lora-export --adapter adapter --base model --out a.gguf",
        &place,
    );
    refused(
        &mut session,
        "lora-export --adapter adapter --base model --format mlx --out mlx",
        &["mlx-lm has no place for rows of the vocabulary"],
    );
    refused(
        &mut session,
        "lora-eval --base base.gguf --data data --adapter adapter --out r",
        &[
            "a GGUF file's vocabulary can't be made larger",
            "folder of Hugging Face",
        ],
    );
    refused(
        &mut session,
        "lora-prep asked.jsonl --base base.gguf --out d --add-tokens '<|ask|>'",
        &[
            "can't be added to the tokenizer of a GGUF file",
            "folder of Hugging Face",
        ],
    );
    refused(
        &mut session,
        "lora-train --base model --data data --out full --method full",
        &["--method full can't make a base larger"],
    );
    refused(
        &mut session,
        "lora-prep asked.jsonl --base model --out d --add-tokens the",
        &["\"the\" is a word of the vocabulary already"],
    );
    refused(
        &mut session,
        "lora-prep asked.jsonl --base model --out d --add-tokens token.txt",
        &[
            "--add-tokens token.txt: there is no such file",
            "check the path",
        ],
    );
    done(
        &mut session,
        "lora-prep rows.jsonl --base model --out plain --quiet",
    );
    done(
        &mut session,
        "lora-train --base model --data plain --out old --rank 2 --steps 1 --quiet --threads 1 --device cpu",
    );
    refused(
        &mut session,
        "lora-train --base model --data data --adapter old --out on --device cpu",
        &["trains no row for <|ask|>", "leave --adapter out"],
    );
}
