//! Multiple choice by likelihood: row by row what lm-evaluation-harness computes (tests/oracle/make_choices.py).
use crate::harness::{assert_code, eval, json, stderr};
use lora_data::{ChatTemplate, Encoder, Record, Split};
use lora_model::Base;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rows() -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("tests/fixtures/choices/rows.jsonl")).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The rows as lora-prep writes them for the embedded model, with their choices in a column.
fn dataset(dir: &Path, rows: &[Value]) -> PathBuf {
    let base = Base::open(&root().join("data/tiny-chat")).unwrap();
    let bundle = base.checkpoint().tokenizer().unwrap();
    let source = base.checkpoint().chat().unwrap().template.unwrap();
    let (bos, eos) = (bundle.bos_token.as_deref(), bundle.eos_token.as_deref());
    let template = ChatTemplate::new(&source, bos, eos).unwrap();
    let encoder = Encoder::new(&bundle, Some(template), None).unwrap();
    let encode = |row: &Value| {
        let pair = json!({"prompt": row["prompt"], "completion": row["completion"]});
        encoder.encode(&Record::from_json(&pair).unwrap()).unwrap()
    };
    let split = Split {
        examples: rows.iter().map(encode).collect(),
        tokenizer_sha256: None,
        template_sha256: None,
        chat: None,
    };
    let choices: Vec<String> = rows.iter().map(|row| row["choices"].to_string()).collect();
    let column = choices.iter().map(|text| Some(text.as_str())).collect();
    let folder = dir.join("data");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("valid.parquet");
    split.write_with(&file, &[("choices", column)]).unwrap();
    folder
}

#[test]
fn choices_are_taken_as_the_harness_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), &rows());
    let flags = [
        "--choices",
        "choices",
        "--generate",
        "0",
        "--gates",
        "acc >= 0.9",
    ];
    let output = eval(dir.path(), &root().join("data/tiny-chat"), &data, &flags);
    assert_code(&output, 1);
    let wanted = json(&root().join("tests/fixtures/choices/expected.json"));
    let predictions = std::fs::read_to_string(dir.path().join("out/predictions.jsonl")).unwrap();
    let mut right = 0.0;
    for (line, wanted) in predictions.lines().zip(wanted.as_array().unwrap()) {
        let line: Value = serde_json::from_str(line).unwrap();
        let scores = &line["models"]["base"]["scores"];
        for metric in ["acc", "acc_norm", "acc_bytes"] {
            assert_eq!(scores[metric], wanted[metric], "{metric}: {line}");
        }
        right += wanted["acc"].as_f64().unwrap();
    }
    assert_eq!(predictions.lines().count(), 40);
    let report = json(&dir.path().join("out/report.json"));
    let figures = report["models"][0]["metrics"].as_array().unwrap();
    let acc = figures
        .iter()
        .find(|figure| figure["metric"] == "acc")
        .unwrap();
    assert_eq!(acc["value"].as_f64(), Some(right / 40.0));
    assert_eq!(acc["chance"]["value"].as_f64(), Some(0.25), "guessing");
}

#[test]
fn rows_without_their_right_choice_are_refused_by_number() {
    let dir = tempfile::tempdir().unwrap();
    for (choices, wanted) in [
        (
            json!(["a", "b"]),
            "none of the choices is the row's completion",
        ),
        (json!("a"), "not a list"),
        (json!(["a"]), "not a list"),
        (json!(["a", "a"]), "different"),
        (json!(["a", ""]), "choice 2 has no tokens"),
    ] {
        let mut rows = rows();
        rows.truncate(2);
        rows[1]["choices"] = choices;
        let data = dataset(dir.path(), &rows);
        let flags = ["--choices", "choices", "--generate", "0", "--force"];
        let output = eval(dir.path(), &root().join("data/tiny-chat"), &data, &flags);
        assert_code(&output, 2);
        let said = stderr(&output);
        assert!(
            said.contains("row 2, column 'choices'") && said.contains(wanted),
            "{said}"
        );
    }
    let data = dataset(dir.path(), &rows()[..2]);
    let flags = ["--gates", "acc >= 0.9", "--force"];
    let output = eval(dir.path(), &root().join("data/tiny-chat"), &data, &flags);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("there is no metric `acc`"),
        "{}",
        stderr(&output)
    );
}
