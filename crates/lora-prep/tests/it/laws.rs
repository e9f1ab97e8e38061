//! What holds for every dataset.
use crate::harness::{BASE, Folder, names, pairs};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;

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

/// Rows of a file, as JSON lines.
fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
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

#[test]
fn a_base_without_a_template_is_said() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("shape")).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(format!("{BASE}/{name}"), folder.path("shape").join(name)).unwrap();
    }
    folder.write("raw.jsonl", pairs(30, 1));
    let said = |flags: &[&str]| {
        let args = ["raw.jsonl", "--base", "shape", "--out", "b", "--force"];
        let answer = folder.run(&[&args[..], flags].concat());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer.stderr.contains("this base has no chat template")
    };
    assert!(said(&[]) && !said(&["--no-chat-template"]));
}

/// Of a base with named templates each chat is written with the one that transformers takes, or refused by name.
#[test]
fn named_templates_are_chosen_as_transformers_does() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("shape/additional_chat_templates")).unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        std::fs::copy(format!("{BASE}/{name}"), folder.path("shape").join(name)).unwrap();
    }
    let own = std::fs::read_to_string(format!("{BASE}/chat_template.jinja")).unwrap();
    folder.write(
        "shape/additional_chat_templates/tool_use.jinja",
        "{{ tools }}".to_owned() + &own,
    );
    let row = |n: usize| json!({"prompt": format!("what is {n}"), "completion": "it"});
    let offers = json!({"tools": [{"name": "f"}], "messages": [{"role": "user", "content": "call it"}, {"role": "assistant", "content": "so"}]});
    folder.write("raw.jsonl", lines((0..30).map(row).chain([offers])));
    let prep = |flags: &[&str]| {
        let args = ["raw.jsonl", "--base", "shape", "--out", "b", "--force"];
        folder.run(&[&args[..], flags].concat())
    };
    assert_eq!(prep(&[]).code, 0);
    let refused = folder.manifest("b").refused;
    assert_eq!(
        refused["it offers tools, for which the base has the chat template 'tool_use'"],
        1
    );
    assert_eq!(prep(&["--template-name", "tool_use"]).code, 0);
    assert_eq!(folder.manifest("b").refused.len(), 0);
    let answer = prep(&["--template-name", "rag"]);
    assert!(
        answer.stderr.contains("no chat template called 'rag'")
            && answer.stderr.contains("hint: it has tool_use"),
        "{}",
        answer.stderr
    );
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

/// Patterns, folders of Hugging Face's datasets, pipes and packed files bring the same rows.
#[test]
fn rows_come_from_wherever_they_lie() {
    let formats = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../lora-data/tests/fixtures/formats"
    ));
    let folder = Folder::new();
    let copy = |from: &str, to: &str| {
        let to = folder.path(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(formats.join(from), to).unwrap();
    };
    copy("rows.jsonl.gz", "parts/a.jsonl.gz");
    copy("rows-zstd.parquet", "parts/b.parquet");
    copy(
        "rows-brotli.parquet",
        "hub/data/train-00000-of-00001.parquet",
    );
    copy("rows-lz4.feather", "saved/data-00000-of-00001.arrow");
    folder.write("saved/state.json", "{}");
    folder.write("saved/dataset_info.json", "{}");
    copy("rows-zstd.feather", "dict/train/data-00000-of-00001.arrow");
    copy("rows-zstd.feather", "dict/test/data-00000-of-00001.arrow");
    folder.write("dict/dataset_dict.json", "{}");
    folder.write("dict/train/state.json", "{}");
    let more = ["--valid", "0", "--keep-duplicates"];
    for (raw, train, test) in [
        ("parts/*", 4, 0),
        ("parts/?.parquet", 2, 0),
        ("hub", 2, 0),
        ("saved", 2, 0),
        ("dict", 2, 2),
    ] {
        let out = format!("out-{}", raw.len());
        let answer = folder.prep(raw, &out, &more);
        assert_eq!(answer.code, 0, "{raw}: {}", answer.stderr);
        let splits = folder.manifest(&out).splits;
        let test_rows = splits.test.map_or(0, |split| split.rows);
        assert_eq!((splits.train.rows, test_rows), (train, test), "{raw}");
        std::fs::remove_dir_all(folder.path(&out)).unwrap();
    }
    let answer = folder.prep("parts/*.xyz", "out", &more);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("no file has such a name"));
    let parquet = std::fs::read(formats.join("rows-gzip.parquet")).unwrap();
    let args = ["-", "--base", BASE, "--out", "out", "--valid", "0"];
    assert_eq!(folder.pipe(&args, &parquet).code, 0);
    #[cfg(unix)]
    {
        let line = format!(
            "exec {} <(cat parts/a.jsonl.gz) --base {BASE} --out piped --valid 0",
            env!("CARGO_BIN_EXE_lora-prep")
        );
        let bash = std::process::Command::new("bash")
            .args(["-c", &line])
            .current_dir(folder.path(""))
            .output();
        if let Ok(answer) = bash {
            assert_eq!(answer.status.code(), Some(0), "{answer:?}");
            assert_eq!(folder.manifest("piped").splits.train.rows, 2);
        }
    }
}

/// Rows are drawn by weight or count, the same for the same seed; each keeps its source, and the counts are told.
#[test]
fn sources_are_mixed_by_weight_or_count() {
    let folder = Folder::new();
    let rows = |name: &str, count: usize| -> String {
        (0..count)
            .map(|n| format!("{{\"prompt\": \"{name} {n}\", \"completion\": \"it is {n}\"}}\n"))
            .collect()
    };
    folder.write("a.jsonl", rows("a", 100));
    folder.write("b.jsonl", rows("b", 30));
    let raw = ["b.jsonl", "--base", BASE, "--valid", "0", "--out"];
    let prep = |out: &str, more: &[&str]| {
        let answer = folder.run(&[&["a.jsonl"], &raw[..], &[out], more].concat());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let sources = folder.manifest(out).sources;
        (sources["a.jsonl"].rows, sources["b.jsonl"].rows)
    };
    assert_eq!(prep("whole", &[]), (100, 30));
    let weights = ["--weight", "a.jsonl=0.7", "--weight", "b.jsonl=0.3"];
    assert_eq!(prep("weights", &weights), (70, 30));
    assert_eq!(
        prep("half", &["--weight", "a.jsonl=1", "--weight", "b.jsonl=2"]),
        (15, 30)
    );
    assert_eq!(prep("counts", &["--take", "a.jsonl=5"]), (5, 30));
    let mixed = ["--take", "a.jsonl=9", "--weight", "b.jsonl=1"];
    assert_eq!(prep("both", &mixed), (9, 30));
    // The same seed draws the same rows, another one others, and a larger count draws them all again.
    let prompts = |out: &str| -> Vec<String> {
        let rows = folder.split(out, "train").examples;
        rows.into_iter().map(|row| row.prompt).collect()
    };
    prep("again", &weights);
    assert_eq!(prompts("weights"), prompts("again"));
    prep("other", &[&weights[..], &["--seed", "1"]].concat());
    assert_ne!(prompts("weights"), prompts("other"));
    let more: HashSet<String> = prompts("both").into_iter().collect();
    assert!(prompts("counts").iter().all(|prompt| more.contains(prompt)));
    let shown = folder.run(&["show", "counts", "-n", "6"]).events("row");
    let sources: Vec<&Value> = shown.iter().map(|row| &row["source"]).collect();
    assert_eq!(sources[4..], ["a.jsonl", "b.jsonl"]);
    for (more, expected) in [
        (
            &["--take", "b.jsonl=31"][..],
            "it has 30 rows that can be used",
        ),
        (&["--take", "c.jsonl=3"], "this is none of the sources"),
        (
            &["--weight", "a.jsonl=0.5"],
            "b.jsonl has no weight, and others have",
        ),
        (
            &["--take", "a.jsonl=3", "--weight", "a.jsonl=1"],
            "two counts or weights",
        ),
        (&["--weight", "a.jsonl=0"], "a weight is a number above 0"),
    ] {
        let answer = folder.run(&[&["a.jsonl"], &raw[..], &["refused"], more].concat());
        assert_eq!(answer.code, 2);
        assert!(answer.stderr.contains(expected), "{}", answer.stderr);
        assert!(!folder.path("refused").exists());
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
