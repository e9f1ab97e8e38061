//! What holds for every dataset.
use crate::harness::{BASE, Folder, names, pairs};
use serde_json::Value;
use std::collections::HashSet;

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
    assert_eq!(receipt["config"]["max-length"], 1024);
    assert_eq!(answer.events("split").len(), 3);
}

#[test]
fn no_prompt_stands_in_two_splits() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(60, 5));
    for seed in ["0", "1", "2"] {
        folder.prep(
            "raw.jsonl",
            "out",
            &["--valid", "0.3", "--test", "0.3", "--seed", seed, "--force"],
        );
        let groups = |name| {
            folder
                .split("out", name)
                .examples
                .into_iter()
                .map(|row| row.group)
                .collect::<HashSet<_>>()
        };
        let (train, valid, test) = (groups("train"), groups("valid"), groups("test"));
        assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
        assert_eq!(train.len() + valid.len() + test.len(), 60);
    }
}

#[test]
fn added_rows_move_no_other_row() {
    let folder = Folder::new();
    folder.write("small.jsonl", pairs(50, 1));
    folder.write("large.jsonl", pairs(80, 1));
    folder.prep("small.jsonl", "small", &[]);
    folder.prep("large.jsonl", "large", &[]);
    let ids = |out, name| {
        folder
            .split(out, name)
            .examples
            .into_iter()
            .map(|row| row.id)
            .collect::<HashSet<_>>()
    };
    assert!(ids("small", "valid").is_subset(&ids("large", "valid")));
    assert!(ids("small", "train").is_subset(&ids("large", "train")));
}

#[test]
fn the_same_rows_give_the_same_bytes_from_a_file_from_stdin_and_as_csv() {
    let folder = Folder::new();
    let rows = pairs(30, 1);
    folder.write("raw.jsonl", &rows);
    folder.write(
        "array.json",
        format!("[{}]", rows.trim().replace('\n', ",")),
    );
    let csv: String = (0..30).map(|n| format!("what is {n},it is 0\n")).collect();
    folder.write("raw.csv", format!("prompt,completion\n{csv}"));
    folder.prep("raw.jsonl", "a", &[]);
    folder.prep("array.json", "b", &[]);
    folder.prep("raw.csv", "c", &[]);
    assert_eq!(
        folder
            .pipe(&["-", "--base", BASE, "--out", "d"], rows.as_bytes())
            .code,
        0
    );
    folder.prep("raw.jsonl", "e", &["--quiet"]);
    for file in ["train.parquet", "valid.parquet", "dataset.json"] {
        let first = std::fs::read(folder.path("a").join(file)).unwrap();
        for other in ["b", "c", "d", "e"] {
            assert!(
                first == std::fs::read(folder.path(other).join(file)).unwrap(),
                "{other}/{file}"
            );
        }
    }
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
fn limit_and_several_files() {
    let folder = Folder::new();
    folder.write("a.jsonl", pairs(20, 1));
    folder.write("b.jsonl", pairs(40, 1));
    let answer = folder.run(&[
        "a.jsonl",
        "b.jsonl",
        "--base",
        BASE,
        "--out",
        "out",
        "--limit",
        "30",
        "--keep-duplicates",
    ]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(folder.manifest("out").rows_read, 30);
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
fn another_template_another_system_and_no_template() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(30, 1));
    folder.write("t.jinja", "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}");
    folder.prep(
        "raw.jsonl",
        "a",
        &["--template", "t.jinja", "--system", "s"],
    );
    let row = &folder.split("a", "train").examples[0];
    assert_eq!(
        row.prompt,
        "[system]\ns<|im_end|>[user]\nwhat is 0<|im_end|>[assistant]\n"
    );
    assert_eq!(row.completion, "it is 0<|im_end|>");
    let chat = folder.split("a", "valid").chat.unwrap();
    let source = std::fs::read_to_string(folder.path("t.jinja")).unwrap();
    assert_eq!(chat.template, Some(source), "to the byte");
    assert_eq!(chat.system.as_deref(), Some("s"));
    assert_eq!(folder.manifest("a").system.as_deref(), Some("s"));
    folder.prep("raw.jsonl", "b", &["--no-chat-template"]);
    let split = folder.split("b", "train");
    assert_eq!(
        (split.examples[0].prompt.as_str(), split.template_sha256),
        ("what is 0", None)
    );
    assert_eq!(split.chat, Some(lora_checkpoint::Chat::default()));
}

#[test]
fn the_system_text_of_all_rows_is_that_of_the_dataset() {
    let folder = Folder::new();
    let row = |system: &str, n: usize| {
        format!(
            "{{\"system\": {system:?}, \"prompt\": \"what is {n}\", \"completion\": \"it is {n}\"}}\n"
        )
    };
    let same: String = (0..30).map(|n| row("Count.", n)).collect();
    folder.write("same.jsonl", &same);
    folder.prep("same.jsonl", "same", &[]);
    assert_eq!(folder.manifest("same").system.as_deref(), Some("Count."));
    folder.write("two.jsonl", same + &row("Sing.", 30));
    folder.prep("two.jsonl", "two", &[]);
    assert_eq!(folder.manifest("two").system, None);
}

#[test]
fn rows_without_the_system_text_of_their_base_are_warned_of() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(30, 1));
    std::fs::create_dir(folder.path("shape")).unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        std::fs::copy(format!("{BASE}/{name}"), folder.path("shape").join(name)).unwrap();
    }
    std::fs::write(folder.path("shape/SYSTEM_PROMPT.txt"), "Count.").unwrap();
    let warned = |more: &[&str]| {
        let args = ["raw.jsonl", "--base", "shape", "--out", "a", "--force"];
        let answer = folder.run(&[&args[..], more].concat());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer
            .stderr
            .contains("was trained with the system text \"Count.\"")
    };
    assert!(warned(&[]) && warned(&["--system", "Sing."]));
    assert!(!warned(&["--system", "Count."]));
}

#[test]
fn a_base_needs_no_weights() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("shape")).unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        std::fs::copy(format!("{BASE}/{name}"), folder.path("shape").join(name)).unwrap();
    }
    folder.write("raw.jsonl", pairs(30, 1));
    folder.prep("raw.jsonl", "a", &[]);
    let answer = folder.run(&["raw.jsonl", "--base", "shape", "--out", "b"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(folder.split("a", "train"), folder.split("b", "train"));
}

#[test]
fn kept_columns_stand_beside_their_rows() {
    let folder = Folder::new();
    let row = |n: usize| {
        let more = if n % 2 == 0 {
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
