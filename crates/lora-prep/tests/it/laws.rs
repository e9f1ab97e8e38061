//! What holds for every dataset.
use crate::harness::{Folder, lines, names, pairs};
use serde_json::{Value, json};

#[test]
fn a_dataset_folder_has_its_splits_its_figures_and_its_receipt() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(100, 2));
    let answer = folder.prep("raw.jsonl", "out", &["--valid", "0.2", "--test", "0.2"]);
    assert_eq!(
        (answer.code, answer.stderr.contains("error")),
        (0, false),
        "{}",
        answer.stderr
    );
    assert_eq!(
        names(&folder.path("out")),
        [
            "dataset.json",
            "receipt.json",
            "test.parquet",
            "train.parquet",
            "valid.parquet"
        ]
    );
    let manifest = folder.manifest("out");
    let mut rows = 0;
    for (name, summary) in manifest.splits.iter() {
        let split = folder.split("out", name);
        assert_eq!(split.examples.len(), summary.rows);
        assert_eq!(split.lengths().iter().sum::<usize>(), summary.tokens);
        assert_eq!(
            split.tokenizer_sha256.as_ref(),
            Some(&manifest.tokenizer_sha256)
        );
        assert_eq!(split.template_sha256, manifest.template_sha256);
        rows += summary.rows;
    }
    assert_eq!((rows, manifest.rows_read), (200, 200));
    let receipt: Value = serde_json::from_str(answer.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(receipt["artefact"], "dataset");
    assert_eq!(receipt["config"]["valid"], 0.2);
    assert_eq!(receipt["config"]["max-length"], 1024, "the model's context");
    assert_eq!(answer.events("split").len(), 3);
}

#[test]
fn duplicates_long_rows_and_empty_ones_are_counted_and_left_out() {
    let folder = Folder::new();
    let odd = format!(
        "{{\"prompt\": \"p\", \"completion\": \"\"}}\n{{\"prompt\": \"p\", \"completion\": \"{}\"}}\n",
        "long ".repeat(200)
    );
    folder.write("raw.jsonl", pairs(30, 1) + &pairs(30, 1) + &odd);
    let answer = folder.prep("raw.jsonl", "out", &["--max-length", "64"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let refused = folder.manifest("out").refused;
    assert_eq!(refused["duplicate of an earlier row"], 30);
    assert_eq!(refused["longer than --max-length 64"], 1);
    assert_eq!(refused["the completion is empty"], 1);
    assert_eq!(answer.events("refused").len(), 3);
    assert!(
        answer
            .stderr
            .contains("warning: 32 of 62 rows were refused"),
        "{}",
        answer.stderr
    );
    folder.prep("raw.jsonl", "all", &["--keep-duplicates"]);
    let splits = folder.manifest("all").splits;
    assert_eq!(splits.train.rows + splits.valid.unwrap().rows, 61);
}

#[test]
fn text_is_cut_into_blocks_and_every_token_is_supervised() {
    let folder = Folder::new();
    let rows: String = (0..60)
        .map(|n| format!("{{\"text\": \"this is the text number {n} of a few\"}}\n"))
        .collect();
    folder.write("raw.jsonl", rows);
    assert_eq!(
        folder
            .prep("raw.jsonl", "out", &["--text-block", "32"])
            .code,
        0
    );
    let split = folder.split("out", "train");
    let (last, full) = split.examples.split_last().unwrap();
    assert!(
        full.iter()
            .all(|row| row.len() == 32 && row.supervised() == 31)
            && last.len() <= 32
    );
    folder.prep("raw.jsonl", "rows", &[]);
    let rows = folder.split("rows", "train");
    assert!(
        rows.examples
            .iter()
            .all(|row| row.supervised() == row.len() - 1 && row.prompt.is_empty())
    );
    assert_eq!(
        rows.lengths().iter().sum::<usize>(),
        split.lengths().iter().sum::<usize>()
    );
}

#[test]
fn a_token_across_the_border_is_tokenised_apart_and_counted() {
    let folder = Folder::new();
    let spaced = (0..9).map(|n| json!({"prompt": format!("{n} is "), "completion": "it"}));
    folder.write("raw.jsonl", lines(spaced));
    let answer = folder.prep("raw.jsonl", "out", &["--no-chat-template", "--valid", "0"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(answer.events("note")[0]["rows"], 9);
    assert_eq!(
        folder.split("out", "train").examples[3].completion,
        "it<|im_end|>"
    );
}

#[test]
fn keys_that_are_not_read_and_first_places_are_named() {
    let folder = Folder::new();
    let row = |n: usize| json!({"prompt": format!("what is {n}"), "completion": "it", "category": "c", "empty": null});
    let odd = [
        json!({"messages": [{"role": "critic", "content": "q"}]}),
        json!({"prompt": "q", "chosen": "a", "rejected": "b"}),
    ];
    folder.write("raw.jsonl", lines((0..30).map(row).chain(odd)));
    let answer = folder.prep("raw.jsonl", "out", &[]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let manifest = folder.manifest("out");
    assert_eq!(
        manifest.unused_keys.into_iter().collect::<Vec<_>>(),
        [("category".to_owned(), 30)]
    );
    let refused = answer.events("refused");
    assert_eq!(refused.len(), 2);
    let role = refused
        .iter()
        .find(|event| event["reason"] == "unknown role \"critic\"")
        .unwrap();
    assert_eq!(role["first"], "raw.jsonl: line 31");
}

#[test]
fn bad_lines_are_skipped_if_asked_and_counted() {
    let folder = Folder::new();
    let bad = [
        "{\"prompt\": NaN}",
        "{\"prompt\": \"\\ud800\"}",
        "{\"n\": 123456789012345678901234}",
        "{\"headline\": 1}",
    ];
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    let rows = format!(
        "{}{}\n{{\"prompt\": {deep}}}\n{}",
        pairs(10, 1),
        bad.join("\n"),
        pairs(30, 1)
    );
    folder.write("raw.jsonl", rows);
    assert_eq!(folder.prep("raw.jsonl", "out", &[]).code, 2);
    let answer = folder.prep("raw.jsonl", "out", &["--on-bad-line", "skip"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let refused = folder.manifest("out").refused;
    assert_eq!(refused["a line that can't be read"], 4);
    assert_eq!(refused["a row of no known layout"], 1);
    assert_eq!(refused["duplicate of an earlier row"], 10);
}

#[test]
fn kept_columns_stand_beside_their_rows() {
    let folder = Folder::new();
    let row = |n: usize| {
        let more = if n.is_multiple_of(2) {
            ", \"right\": [\"x\"]"
        } else {
            ""
        };
        format!(
            "{{\"prompt\": \"ask {n}\", \"completion\": \"say {n}\", \"kind\": \"k{}\"{more}}}\n",
            n % 3
        )
    };
    folder.write("raw.jsonl", (0..40).map(row).collect::<String>());
    let flags = ["--keep", "kind", "--keep", "right"];
    assert_eq!(folder.prep("raw.jsonl", "out", &flags).code, 0);
    let mut seen = 0;
    for split in ["train", "valid"] {
        let rows = folder.split("out", split).examples;
        let column = |name| lora_data::read_column(&folder.path("out"), split, name).unwrap();
        let (kinds, right) = (column("kind"), column("right"));
        assert_eq!((kinds.len(), right.len()), (rows.len(), rows.len()));
        for (row, (kind, right)) in rows.iter().zip(kinds.iter().zip(&right)) {
            let digits: String = row.prompt.chars().filter(char::is_ascii_digit).collect();
            let n: usize = digits.parse().unwrap();
            assert_eq!(kind, &format!("k{}", n % 3), "{}", row.prompt);
            assert_eq!(right.is_null(), n % 2 == 1);
            seen += 1;
        }
    }
    assert_eq!(seen, 40);
    for (flags, wanted) in [
        (["--keep", "sort"], "no row has such a column"),
        (["--keep", "prompt"], "a dataset has a column of that name"),
    ] {
        let answer = folder.prep("raw.jsonl", "other", &flags);
        assert_eq!(answer.code, 2);
        assert!(answer.stderr.contains(wanted), "{}", answer.stderr);
    }
}

#[test]
fn too_many_refused_rows_end_it() {
    let folder = Folder::new();
    folder.write(
        "raw.jsonl",
        pairs(95, 1) + &"{\"prompt\": \"x\", \"completion\": \"\"}\n".repeat(5),
    );
    let answer = folder.prep("raw.jsonl", "out", &["--max-refused", "0.04"]);
    assert_eq!(answer.code, 2);
    let expected = "5 of 100 rows were refused, more than --max-refused 0.04";
    assert!(answer.stderr.contains(expected), "{}", answer.stderr);
    assert!(
        answer
            .stderr
            .contains("5 the completion is empty (first: raw.jsonl: line 96)")
    );
    assert_eq!(folder.names(), ["raw.jsonl"]);
    assert_eq!(
        folder
            .prep("raw.jsonl", "out", &["--max-refused", "0.05"])
            .code,
        0
    );
}
