//! `lora-prep show`.
use crate::harness::{Folder, pairs};
use serde_json::json;

#[test]
fn supervised_tokens_stand_in_brackets() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(30, 1));
    folder.prep("raw.jsonl", "out", &[]);
    let answer = folder.run(&["show", "out", "-n", "2", "--ids"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let rows = answer.events("row");
    assert_eq!(rows.len(), 2);
    assert_eq!(
        rows[0]["text"],
        "<|im_start|>user\nwhat is 0<|im_end|>\n<|im_start|>assistant\n⟦it is 0<|im_end|>⟧"
    );
    assert_eq!(
        rows[0]["input_ids"].as_array().unwrap().len(),
        rows[0]["tokens"].as_u64().unwrap() as usize
    );
    let valid = folder
        .run(&["show", "out", "--split", "valid", "-n", "1", "--skip", "1"])
        .events("row");
    assert_eq!(valid[0]["row"], 2);
}

#[test]
fn a_receipt_on_stdin_names_the_dataset() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(30, 1));
    let made = folder.prep("raw.jsonl", "out", &[]);
    let answer = folder.pipe(&["show", "-", "-n", "1"], made.stdout.as_bytes());
    assert_eq!(
        (answer.code, answer.events("row").len()),
        (0, 1),
        "{}",
        answer.stderr
    );
}

#[test]
fn text_can_not_steer_a_terminal() {
    let folder = Folder::new();
    let rows: String = (0..20)
        .map(|n| {
            format!(
                "{}\n",
                json!({"prompt": format!("{n}\u{1b}[31m"), "completion": "x"})
            )
        })
        .collect();
    folder.write("raw.jsonl", rows);
    folder.prep("raw.jsonl", "out", &["--valid", "0"]);
    let text = folder.run(&["show", "out", "-n", "1"]).events("row")[0]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.contains("0\\u{1b}[31m") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[test]
fn what_is_no_dataset_is_an_error() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(30, 1));
    folder.prep("raw.jsonl", "out", &["--valid", "0"]);
    for (args, expected) in [
        (&["show", "out", "--split", "valid"][..], "no split 'valid'"),
        (&["show", "none"], "failed to open a dataset at none"),
        (
            &["show", "raw.jsonl"],
            "raw.jsonl: no readable parquet file",
        ),
        (&["show"], "required arguments"),
    ] {
        let answer = folder.run(args);
        assert_eq!(
            (answer.code, answer.stderr.contains(expected)),
            (2, true),
            "{args:?}: {}",
            answer.stderr
        );
    }
}
