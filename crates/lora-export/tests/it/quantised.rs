//! Quantised files: what they cost is measured, and importance is of use.
use crate::harness::{export, receipt, stderr, tiny};
use lora_checkpoint::{Checkpoint, Importance};
use lora_data::{Example, Split};
use lora_testkit::Noise;
use serde_json::Value;
use std::path::Path;

/// Writes a dataset of rows whose second half is supervised, as both splits.
fn dataset(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let tokenizer = Checkpoint::open(tiny().as_ref())
        .unwrap()
        .tokenizer()
        .unwrap();
    let mut noise = Noise(3);
    let mut row = |index: usize| {
        let input_ids: Vec<u32> = (0..24).map(|_| noise.below(1000) as u32 + 8).collect();
        let labels = |(i, id): (usize, &u32)| if i < 12 { -100 } else { *id as i32 };
        Example {
            labels: input_ids.iter().enumerate().map(labels).collect(),
            input_ids,
            id: index.to_string(),
            group: index.to_string(),
            prompt: String::new(),
            completion: String::new(),
        }
    };
    let split = Split {
        examples: (0..6).map(&mut row).collect(),
        tokenizer_sha256: Some(tokenizer.sha256),
        template_sha256: None,
        chat: None,
    };
    for name in ["train.parquet", "valid.parquet"] {
        split.write(&folder.join(name)).unwrap();
    }
}

fn found(dir: &Path, dtype: &str, more: &[&str]) -> Value {
    let (tiny, out) = (tiny(), format!("{dtype}{}.gguf", more.len()));
    let mut args = vec![
        "--model", &tiny, "--dtype", dtype, "--out", &out, "--verify", "d",
    ];
    args.extend(more);
    receipt(&export(dir, &args))["results"]["verify"].clone()
}

#[test]
fn what_is_written_is_held_against_what_it_was_made_of() {
    let dir = tempfile::tempdir().unwrap();
    dataset(&dir.path().join("d"));
    let same = found(dir.path(), "bf16", &[]);
    assert_eq!(same["mean_kl"], 0.0, "bf16 is the model's own type: {same}");
    assert_eq!(same["agreement"], 1.0);
    assert_eq!((&same["rows"], &same["tokens"]), (&6.into(), &72.into()));
    let kl = |dtype| found(dir.path(), dtype, &[])["mean_kl"].as_f64().unwrap();
    let (eight, five, two) = (kl("q8_0"), kl("q5_k_m"), kl("q2_k"));
    assert!(
        0.0 < eight && eight < five && five < two,
        "{eight} {five} {two}"
    );
}

#[test]
fn a_gate_that_does_not_pass_is_exit_1_and_one_that_cannot_be_judged_2() {
    let dir = tempfile::tempdir().unwrap();
    dataset(&dir.path().join("d"));
    let model = tiny();
    for (gate, code, said) in [
        (["--max-kl", "1e-9"], 1, "at most 0.000000001 wanted"),
        (["--min-agreement", "1.5"], 2, "a number from 0 to 1"),
        (["--max-kl", "9"], 0, ""),
    ] {
        let mut args = vec![
            "--model", &model, "--dtype", "q4_0", "--out", "m.gguf", "--force",
        ];
        args.extend(["--verify", "d"]);
        args.extend(gate);
        let output = export(dir.path(), &args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{gate:?}: {}",
            stderr(&output)
        );
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
}

#[test]
fn types_are_compared_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    dataset(&dir.path().join("d"));
    let model = tiny();
    let args = [
        "--model",
        &model,
        "--verify",
        "d",
        "--compare",
        "q4_k_m,q8_0",
        "--json",
    ];
    let output = export(dir.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let types: Vec<&Value> = events.iter().map(|event| &event["dtype"]).collect();
    assert_eq!(types, ["q4_k_m", "q8_0"]);
    assert!(events[0]["bytes"].as_u64() < events[1]["bytes"].as_u64());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn measured_importance_travels_through_its_file() {
    let dir = tempfile::tempdir().unwrap();
    dataset(&dir.path().join("d"));
    let model = tiny();
    let run = |importance: &str, out: &str, more: &[&str]| {
        let mut args = vec![
            "--model",
            &model,
            "--dtype",
            "q4_0",
            "--importance",
            importance,
        ];
        args.extend(["--out", out]);
        args.extend(more);
        receipt(&export(dir.path(), &args));
        std::fs::read(dir.path().join(out)).unwrap()
    };
    let measured = run("d", "a.gguf", &["--importance-out", "i.gguf"]);
    let importance = Importance::read(&dir.path().join("i.gguf")).unwrap();
    assert_eq!(importance.len(), 4 * 7);
    let columns = |name: &str| importance.of(name).map(<[f32]>::len);
    assert_eq!(columns("blk.3.ffn_down.weight"), Some(384));
    assert_eq!(columns("blk.0.attn_q.weight"), Some(128));
    assert_eq!(
        importance.of("blk.0.attn_q.weight"),
        importance.of("blk.0.attn_v.weight")
    );
    assert!(run("i.gguf", "b.gguf", &[]) == measured);
    let plain = export(
        dir.path(),
        &["--model", &model, "--dtype", "q4_0", "--out", "c.gguf"],
    );
    receipt(&plain);
    assert!(std::fs::read(dir.path().join("c.gguf")).unwrap() != measured);
}
