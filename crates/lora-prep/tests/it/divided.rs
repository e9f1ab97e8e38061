//! Which rows stand in which split.
use crate::harness::{Folder, lines, pairs};
use serde_json::{Value, json};
use std::collections::HashSet;

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
fn what_belongs_together_stands_in_one_split() {
    let folder = Folder::new();
    let turn = |role: &str, text: String| json!({"role": role, "content": text});
    let chat = |n: usize, turns: usize| {
        let turns = (0..turns).flat_map(|t| {
            [
                turn("user", format!("Question {n} {t}")),
                turn("assistant", format!("Answer {t}")),
            ]
        });
        json!({"messages": turns.collect::<Vec<_>>()})
    };
    let cut = (0..40).flat_map(|n| (1..4).map(move |turns| chat(n, turns)));
    let spelled = (0..40).flat_map(|n| {
        ["what is {}", "What is {}?", "what  is {}!"]
            .map(|text| json!({"prompt": text.replace("{}", &n.to_string()), "completion": "x"}))
    });
    let grouped =
        (0..120).map(|n| json!({"prompt": format!("word {n}"), "completion": "x", "user": n % 40}));
    let long = |n: usize| {
        (0..40)
            .map(|word| format!("w{} ", (n + 1) * (word + 3) * 7919 % 1000))
            .collect::<String>()
    };
    let near = (0..40).flat_map(|n| {
        ["one", "two", "six"].map(|end| json!({"prompt": long(n) + end, "completion": "x"}))
    });
    let cases: [(Vec<Value>, &[&str]); 4] = [
        (cut.collect(), &["--learn", "last"]),
        (spelled.collect(), &[]),
        (grouped.collect(), &["--group", "user"]),
        (near.collect(), &["--near", "0.8"]),
    ];
    for (rows, flags) in cases {
        folder.write("raw.jsonl", lines(rows));
        let flags = [flags, &["--valid", "0.3", "--force"]].concat();
        let answer = folder.prep("raw.jsonl", "out", &flags);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let splits = folder.manifest("out").splits;
        let valid = splits.valid.unwrap();
        assert_eq!(
            (
                splits.train.rows + valid.rows,
                splits.train.prompts + valid.prompts
            ),
            (120, 40),
            "{flags:?}"
        );
        assert_eq!(valid.rows, 3 * valid.prompts, "{flags:?}");
    }
}

#[test]
fn few_rows_are_divided_by_count_for_every_seed() {
    let folder = Folder::new();
    folder.write("raw.jsonl", pairs(10, 1));
    for seed in ["0", "1", "2", "3", "4", "5", "6", "7"] {
        let answer = folder.prep(
            "raw.jsonl",
            "out",
            &["--seed", seed, "--test", "0.2", "--force"],
        );
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let splits = folder.manifest("out").splits;
        assert_eq!(
            (splits.valid.unwrap().rows, splits.test.unwrap().rows),
            (1, 2)
        );
    }
}

#[test]
fn splits_of_ones_own_are_kept() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("own/data")).unwrap();
    let rows = |from: usize, to: usize| {
        lines((from..to).map(|n| json!({"prompt": format!("what is {n}"), "completion": "it"})))
    };
    folder.write("own/data/train-00000-of-00001.jsonl", rows(0, 20));
    folder.write("own/data/validation.jsonl", rows(20, 25));
    folder.write(
        "own/data/test.jsonl",
        rows(22, 30) + &lines([json!({"prompt": "What is 3?", "completion": "it"})]),
    );
    let sizes = |out: &str| {
        let splits = folder.manifest(out).splits;
        [
            splits.train.rows,
            splits.valid.map_or(0, |s| s.rows),
            splits.test.map_or(0, |s| s.rows),
        ]
    };
    let answer = folder.prep("own", "a", &[]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert_eq!(
        sizes("a"),
        [20, 5, 6],
        "three rows of test stand in valid already"
    );
    assert!(
        answer
            .stderr
            .contains("1 held-out rows ask what rows to train on ask"),
        "{}",
        answer.stderr
    );
    let files = ["--valid-file", "own/data/validation.jsonl", "--test", "0.1"];
    assert_eq!(
        folder
            .prep("own/data/train-00000-of-00001.jsonl", "b", &files)
            .code,
        0
    );
    assert_eq!(sizes("b"), [18, 5, 2]);
}
