//! What became of the adapter after its training.
use super::{RATE, causes, findings, first};
use crate::house::{House, base, eval, export, merge};
use lora_data::{Example, IGNORE};
use lora_plan::Cause;

#[test]
fn an_adapter_lost_in_rounding() {
    let house = House::new();
    let run = house.train(&house.tasks(100), &["--lr", "1e-6", "--steps", "10"]);
    let (base, adapter) = (base(), run.display().to_string());
    merge(&[
        "--base",
        &base,
        "--adapter",
        &adapter,
        "--dtype",
        "bf16",
        "--out",
        &house.text("merged"),
    ]);
    let found = findings(&run);
    assert_eq!(
        causes(&found),
        [Cause::RateTooLow, Cause::MergeLost],
        "{found:#?}"
    );
    assert!(
        found[1].changes[0]
            .command
            .as_ref()
            .unwrap()
            .contains("--dtype f32"),
        "{found:#?}"
    );
}

#[test]
fn a_model_that_does_worse_than_its_adapter() {
    let house = House::new();
    let data = house.tasks(200);
    // So small a change that bf16 swallows most of it, and yet one that the adapter gains by.
    let run = house.train(&data, &["--lr", "3e-5", "--epochs", "3"]);
    let (base, adapter, merged) = (base(), run.display().to_string(), house.text("merged"));
    eval(&[
        "--base",
        &base,
        "--data",
        &data,
        "--adapter",
        &adapter,
        "--generate",
        "0",
        "--out",
        &house.text("report"),
    ]);
    merge(&[
        "--base",
        &base,
        "--adapter",
        &adapter,
        "--dtype",
        "bf16",
        "--out",
        &merged,
    ]);
    let file = house.text("model.gguf");
    export(&["--model", &merged, "--dtype", "bf16", "--out", &file]);
    eval(&[
        "--base",
        &file,
        "--data",
        &data,
        "--generate",
        "0",
        "--out",
        &house.text("report-gguf"),
    ]);
    let found = findings(&run);
    let lost = found
        .iter()
        .find(|f| f.cause == Cause::ExportLost)
        .unwrap_or_else(|| panic!("{found:#?}"));
    assert!(lost.evidence[1].contains("model.gguf (bf16)"), "{lost:?}");
    assert!(
        lost.changes[0]
            .command
            .as_ref()
            .unwrap()
            .contains("--dtype f32"),
        "{lost:?}"
    );
}

#[test]
fn outputs_of_an_earlier_adapter() {
    let house = House::new();
    let data = house.tasks(200);
    let run = house.train(
        &data,
        &["--lr", RATE, "--epochs", "6", "--schedule", "cosine"],
    );
    let (base, adapter, merged) = (base(), run.display().to_string(), house.text("merged"));
    merge(&[
        "--base",
        &base,
        "--adapter",
        &adapter,
        "--dtype",
        "f32",
        "--out",
        &merged,
    ]);
    assert_eq!(findings(&run), []);
    house.train(
        &data,
        &[
            "--lr",
            RATE,
            "--epochs",
            "7",
            "--schedule",
            "cosine",
            "--force",
        ],
    );
    let found = findings(&run);
    let finding = first(&found, Cause::Outdated);
    let command = finding.changes[0].command.as_deref().unwrap();
    assert!(
        finding.title.contains("merged model")
            && command.ends_with(&format!("--force --out {merged}")),
        "{found:#?}"
    );
    // Doing what it says mends it.
    let words: Vec<&str> = command
        .strip_prefix("lora-merge ")
        .unwrap()
        .split(' ')
        .collect();
    merge(&words);
    assert_eq!(findings(&run), []);
}

/// An adapter that was trained on answers to other prompts, and one that was trained on the same rows as they belong.
#[test]
fn answers_of_other_prompts() {
    for (shift, expected) in [(0, false), (7, true)] {
        let house = House::new();
        let data = house.edited(400, |train, valid| {
            for rows in [train, valid] {
                let own: Vec<Example> = rows.clone();
                for (at, row) in rows.iter_mut().enumerate() {
                    let other = &own[(at + shift) % own.len()];
                    let prompt = row.prompt_ids().to_vec();
                    let answer = other.prompt_ids().len();
                    row.input_ids = [&prompt, &other.input_ids[answer..]].concat();
                    row.labels = [&vec![IGNORE; prompt.len()], &other.labels[answer..]].concat();
                    row.completion.clone_from(&other.completion);
                }
            }
        });
        let run = house.train(&data, &["--lr", RATE, "--epochs", "6"]);
        let (adapter, report) = (run.display().to_string(), house.text("report"));
        let words = [
            "lora-eval",
            "--base",
            &base(),
            "--data",
            &data,
            "--adapter",
            &adapter,
            "--generate",
            "0",
            "--must-beat-base",
            "--out",
            &report,
        ];
        let args = <lora_eval::Args as clap::Parser>::try_parse_from(words).unwrap();
        let status = lora_eval::run(args, &lora_cli::Ui::silent()).unwrap();
        assert_eq!(matches!(status, lora_cli::Status::No(_)), expected);
        let found = findings(&run);
        let finding = found
            .iter()
            .find(|finding| finding.cause == Cause::AnswersOfOtherPrompts);
        assert_eq!(finding.is_some(), expected, "{found:#?}");
    }
}
