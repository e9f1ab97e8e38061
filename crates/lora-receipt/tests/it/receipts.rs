//! Receipts are read strictly.
use crate::draft;
use lora_receipt::{Artefact, Hashes, Input, Receipt, Staged};
use lora_testkit::Told as _;
use std::fs;
use tempfile::tempdir;

#[test]
fn save_then_load_is_identity() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("d");
    let staged = Staged::folder(&out, false).unwrap();
    fs::write(staged.path().join("train.parquet"), "rows").unwrap();
    let made = staged.commit(draft()).unwrap();
    let read = Receipt::load(&out).unwrap();
    assert_eq!(made, read);
    assert_eq!(read.artefact, Artefact::Dataset);
    assert_eq!(read.outputs.len(), 1);
    assert_eq!(read.outputs[0].bytes, 4);
    assert_eq!(read.config.to_string(), r#"{"b":1,"a":2}"#);
}

#[test]
fn a_missing_truncated_or_foreign_receipt_is_a_clear_error() {
    let dir = tempdir().unwrap();
    let load = |text: &str| {
        fs::write(dir.path().join("receipt.json"), text).unwrap();
        let error = Receipt::load(dir.path()).unwrap_err().told();
        error.replace(&dir.path().display().to_string(), "OUT")
    };
    for (text, what) in [
        (
            "{\"version\": 1, ",
            "is not valid JSON: EOF while parsing a value at line 1 column 15",
        ),
        ("{}", "is not a receipt: it has no version"),
        ("{\"version\": 1}", "is not a receipt: missing field `tool`"),
    ] {
        let hint = "a receipt is written by a lora tool and not by hand: make the output again";
        assert_eq!(load(text), format!("OUT/receipt.json {what}\nhint: {hint}"));
    }
    assert_eq!(
        load("{\"version\": 3}"),
        "OUT/receipt.json is a receipt of version 3, and this tool reads versions 1 to 2\n\
         hint: use the release that wrote it, or make the output again with this one"
    );
    fs::remove_file(dir.path().join("receipt.json")).unwrap();
    let error = Receipt::load(dir.path()).unwrap_err().told();
    assert!(
        error.contains("has no receipt") && error.contains("\nhint: "),
        "{error}"
    );
}

#[test]
fn a_change_of_the_output_is_seen() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("d");
    let staged = Staged::folder(&out, false).unwrap();
    fs::write(staged.path().join("a"), "1").unwrap();
    let receipt = staged.commit(draft()).unwrap();
    let change = || receipt.first_change(&out, &mut Hashes::default()).unwrap();
    assert_eq!(change(), None);
    fs::write(out.join("b"), "").unwrap();
    assert_eq!(change(), None, "what a person adds is no change of ours");
    fs::write(out.join("a"), "2").unwrap();
    assert_eq!(change().unwrap(), "a was modified");
    fs::remove_file(out.join("a")).unwrap();
    assert_eq!(change().unwrap(), "a is gone");
}

#[test]
fn a_receipt_of_version_1_is_read_with_its_measurements_apart() {
    let of_tool = |tool: &str| {
        let text = format!(
            r#"{{"version":1,"tool":"{tool}","tool_version":"0.1.0","artefact":"adapter","out":"a","config":{{}},"seed":7,
            "inputs":[],"outputs":[],"results":{{"steps":2,"memory":{{"peak":5}},"tokens_per_s":1.5,"last_loss":0.5}},
            "wall_seconds":1.5,"peak_rss_bytes":9,"host":{{}}}}"#
        );
        Receipt::parse(&text, "it").unwrap()
    };
    let training = of_tool("lora-train");
    assert_eq!(training.version, lora_receipt::VERSION);
    assert_eq!(
        training.results.to_string(),
        r#"{"steps":2,"last_loss":0.5}"#
    );
    assert_eq!(
        training.measured.to_string(),
        r#"{"memory":{"peak":5},"tokens_per_s":1.5}"#
    );
    let other = of_tool("lora-other");
    assert_eq!(other.results["tokens_per_s"], 1.5);
    assert_eq!(other.measured, serde_json::json!({}));
    let again = serde_json::to_string(&training).unwrap();
    assert_eq!(Receipt::parse(&again, "it").unwrap(), training);
}

#[test]
fn inputs_are_named_after_their_flag() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("a"), "abc").unwrap();
    let input = Input::read("base", &dir.path().join("a")).unwrap();
    assert_eq!(input.name, "base");
    assert!(input.sha256.starts_with("ba7816bf"));
}
