//! What it was trained on: masks, texts, repetitions, answers.
use super::{RATE, causes, findings, first, outputs};
use crate::house::{House, base, prep};
use lora_plan::{Cause, Finding, diagnose};
use std::path::Path;

#[test]
fn rows_learned_by_heart() {
    let house = House::new();
    // Every request gets the answer of another one: there is nothing to learn but the rows themselves.
    let rows = std::fs::read_to_string(crate::house::root("data/tasks.jsonl")).unwrap();
    let rows: Vec<serde_json::Value> = rows
        .lines()
        .take(80)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let swapped = rows.iter().enumerate().map(|(i, row)| {
        let answer = &rows[(i + 7) % rows.len()]["completion"];
        serde_json::json!({ "prompt": row["prompt"], "completion": answer }).to_string() + "\n"
    });
    std::fs::write(house.path("raw.jsonl"), swapped.collect::<String>()).unwrap();
    let data = house.text("data");
    prep(&[
        &house.text("raw.jsonl"),
        "--base",
        &base(),
        "--valid",
        "0.2",
        "--seed",
        "7",
        "--out",
        &data,
    ]);
    let run = house.train(&data, &["--lr", RATE, "--rank", "64", "--epochs", "15"]);
    let found = findings(&run);
    let finding = first(&found, Cause::Overfitting);
    assert!(finding.evidence[0].starts_with("valid loss"), "{finding:?}");
    let commands: Vec<&str> = finding
        .changes
        .iter()
        .filter_map(|c| c.command.as_deref())
        .collect();
    assert!(
        commands[0].contains("--patience 2") && commands[1].contains("--rank 16 --alpha 16"),
        "{commands:?}"
    );
    assert!(commands[2].contains("--dropout 0.05"), "{commands:?}");
}

#[test]
fn a_mask_over_the_answers() {
    let house = House::new();
    let data = house.edited(200, |train, valid| {
        for row in train.iter_mut().chain(valid) {
            let last = row.labels.len() - 1;
            row.labels[..last].fill(-100);
        }
    });
    let found = findings(&house.train(&data, &["--lr", RATE, "--epochs", "2"]));
    assert!(
        first(&found, Cause::MaskCoversAnswer).evidence[1].contains("one token only"),
        "{found:#?}"
    );
}

#[test]
fn prompts_in_the_loss() {
    let house = House::new();
    let data = house.edited(200, |train, valid| {
        for row in train.iter_mut().chain(valid) {
            row.labels = row.input_ids.iter().map(|&id| id as i32).collect();
        }
    });
    let found = findings(&house.train(&data, &["--lr", RATE, "--epochs", "3"]));
    assert_eq!(causes(&found), [Cause::PromptInLoss], "{found:#?}");
    first(&found, Cause::PromptInLoss);
}

/// As a user makes it: question and answer in one text. A text cut into blocks is meant to be learned whole.
#[test]
fn questions_given_as_text() {
    let house = House::new();
    let rows = std::fs::read_to_string(crate::house::root("data/tasks.jsonl")).unwrap();
    let rows = rows.lines().take(200).map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = format!(
            "user: {}\nassistant: {}",
            row["prompt"].as_str().unwrap(),
            row["completion"].as_str().unwrap()
        );
        serde_json::json!({ "text": text }).to_string() + "\n"
    });
    std::fs::write(house.path("raw.jsonl"), rows.collect::<String>()).unwrap();
    for (name, flags, expected) in [
        ("rows", &[][..], vec![Cause::PromptInLoss]),
        ("blocks", &["--text-block", "64"][..], vec![]),
    ] {
        let data = house.text(name);
        prep(
            &[
                &[
                    &house.text("raw.jsonl")[..],
                    "--base",
                    &base(),
                    "--out",
                    &data,
                ],
                flags,
            ]
            .concat(),
        );
        let run = house.train_as(
            &format!("run-{name}"),
            &data,
            &["--lr", RATE, "--epochs", "6", "--schedule", "cosine"],
        );
        assert_eq!(causes(&findings(&run)), expected, "{name}");
    }
}

#[test]
fn leaked_and_repeated_rows() {
    let house = House::new();
    let data = house.edited(200, |train, valid| {
        for row in valid.iter_mut().take(5) {
            row.prompt = row.prompt.to_uppercase();
            train.push(row.clone());
        }
        let again: Vec<_> = train.iter().take(40).cloned().collect();
        train.extend(again);
    });
    let found = findings(&house.train(&data, &["--lr", RATE, "--epochs", "3"]));
    first(&found, Cause::Leakage);
    assert!(causes(&found).contains(&Cause::Duplicates), "{found:#?}");
}

/// Rows that stand twice call for lora-prep, in each of four runs on these rows.
#[test]
fn every_command_has_an_output_of_its_own() {
    let house = House::new();
    let rows = std::fs::read_to_string(crate::house::root("data/tasks.jsonl")).unwrap();
    let rows: Vec<&str> = rows.lines().take(60).collect();
    let twice: Vec<&str> = rows.iter().chain(&rows[..30]).copied().collect();
    std::fs::write(house.path("raw.jsonl"), twice.join("\n")).unwrap();
    let data = house.text("data");
    let flags = [
        "--base",
        &base(),
        "--keep-duplicates",
        "--valid",
        "0.2",
        "--seed",
        "7",
        "--out",
        &data,
    ];
    prep(&[&[&house.text("raw.jsonl")[..]], &flags[..]].concat());
    std::fs::create_dir(house.path("data-2")).unwrap();
    std::fs::create_dir(house.path("data-4.partial")).unwrap();
    for name in ["one", "two", "three", "four"] {
        house.train_as(name, &data, &["--lr", RATE, "--steps", "10"]);
    }
    let all = diagnose(&house.path("")).unwrap();
    assert_eq!(all.len(), 4, "{all:#?}");
    for diagnosis in &all {
        let causes = causes(&diagnosis.findings);
        assert!(causes.contains(&Cause::Duplicates), "{all:#?}");
    }
    let made = outputs(all.iter().flat_map(|diagnosis| &diagnosis.findings));
    let of_prep: Vec<&String> = made.iter().filter(|out| out.starts_with(&data)).collect();
    let free = ["data-3", "data-5", "data-6", "data-7"].map(|name| house.text(name));
    assert_eq!(of_prep[..4], free.each_ref(), "{made:#?}");
    // All of them can be run, one after the other.
    for change in all
        .iter()
        .flat_map(|d| &d.findings)
        .flat_map(|finding| &finding.changes)
    {
        if let Some(flags) = change
            .command
            .as_deref()
            .and_then(|c| c.strip_prefix("lora-prep /"))
        {
            prep(&format!("/{flags}").split(' ').collect::<Vec<_>>());
        }
    }
    assert!(
        free.iter()
            .all(|data| Path::new(data).join("receipt.json").is_file())
    );
}

#[test]
fn answers_without_an_end() {
    let house = House::new();
    let (raw, data) = (crate::house::root("data/tasks.jsonl"), house.text("data"));
    let flags = ["--no-chat-template", "--limit", "200", "--out", &data];
    prep(&[&[&raw[..], "--base", &base()], &flags[..]].concat());
    // Without a template a row ends in its own last word; the tasks all end in a brace, so cut that off too.
    let data = house.edited_in(&data, |row| {
        let keep = row.input_ids.len() - 1 - row.input_ids.len() % 5;
        row.input_ids.truncate(keep);
        row.labels.truncate(keep);
    });
    let found = findings(&house.train(&data, &["--lr", RATE, "--epochs", "3"]));
    assert!(causes(&found).contains(&Cause::NoEndOfTurn), "{found:#?}");
}

#[test]
fn too_few_tokens_to_learn_from() {
    let house = House::new();
    let found = findings(&house.train(&house.tasks(30), &["--lr", RATE, "--epochs", "3"]));
    let finding = found
        .iter()
        .find(|f| f.cause == Cause::FewSupervised)
        .unwrap_or_else(|| panic!("{found:#?}"));
    assert!(
        finding.evidence[0].contains("tokens are supervised"),
        "{finding:?}"
    );
    assert!(
        finding.changes.iter().any(|c| c
            .command
            .as_ref()
            .is_some_and(|c| c.contains("--valid 0.2"))),
        "{finding:?}"
    );
}

/// A run on rows of `prompt` and `completion` made by number.
fn run_on(
    house: &House,
    rows: usize,
    row: impl Fn(usize) -> (String, String),
    epochs: &str,
) -> Vec<Finding> {
    let line = |n| {
        let (prompt, completion) = row(n);
        serde_json::json!({"prompt": prompt, "completion": completion}).to_string() + "\n"
    };
    std::fs::write(
        house.path("raw.jsonl"),
        (0..rows).map(line).collect::<String>(),
    )
    .unwrap();
    let (raw, base, data) = (house.text("raw.jsonl"), base(), house.text("data"));
    prep(&[&raw, "--base", &base, "--out", &data, "--valid", "0.2"]);
    findings(&house.train(&data, &["--lr", RATE, "--epochs", epochs]))
}

#[test]
fn answers_that_are_all_equal() {
    let house = House::new();
    let found = run_on(
        &house,
        120,
        |n| (format!("what is {n}"), "a river".to_owned()),
        "1",
    );
    let finding = found.iter().find(|f| f.cause == Cause::AllEqual).unwrap();
    assert!(
        finding.evidence[0].contains("99 of 99 train rows"),
        "{finding:?}"
    );
}

/// A word that answers a long text is no fault of the mask.
#[test]
fn a_short_answer_to_a_long_text() {
    let house = House::new();
    let row = |n: usize| {
        let text = format!("the task {n} is due ").repeat(70);
        (text, ["yes", "no"][n % 2].to_owned())
    };
    let found = run_on(&house, 40, row, "1");
    assert!(
        !causes(&found).contains(&Cause::MaskCoversAnswer),
        "{found:#?}"
    );
}

/// Chats that were cut into turns before they were divided.
#[test]
fn later_turns_of_chats_that_train() {
    let house = House::new();
    let data = house.edited(100, |train, valid| {
        for (row, earlier) in valid.iter_mut().zip(train) {
            row.prompt = format!("{}{}and then?", earlier.prompt, earlier.completion);
        }
    });
    let found = findings(&house.train(&data, &["--lr", RATE, "--epochs", "1"]));
    let finding = first(&found, Cause::Leakage);
    assert!(
        finding.title.contains("both sides of the split"),
        "{finding:?}"
    );
}
