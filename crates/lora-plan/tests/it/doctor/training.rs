//! How it was trained: rates, lengths, modules, and what stopped it.
use super::{RATE, causes, findings, first};
use crate::house::{House, base, eval, merge};
use lora_plan::{Cause, diagnose};
use std::path::Path;

#[test]
fn a_healthy_run_gets_silence() {
    let house = House::new();
    let data = house.tasks(800);
    let flags = ["--lr", RATE, "--epochs", "3", "--schedule", "cosine"];
    let run = house.train(&data, &flags);
    let (base, out) = (base(), house.text("report"));
    let adapter = run.display().to_string();
    eval(&[
        "--base",
        &base,
        "--data",
        &data,
        "--adapter",
        &adapter,
        "--generate",
        "20",
        "--out",
        &out,
    ]);
    merge(&[
        "--base",
        &base,
        "--adapter",
        &adapter,
        "--dtype",
        "f32",
        "--out",
        &house.text("merged"),
    ]);
    assert_eq!(findings(&run), []);
    // The folder of all steps is the same run.
    let all = diagnose(&house.path("")).unwrap();
    assert!(all.len() == 1 && all[0].findings.is_empty(), "{all:?}");
}

#[test]
fn a_rate_too_low() {
    let house = House::new();
    let run = house.train(&house.tasks(200), &["--lr", "1e-7", "--epochs", "2"]);
    let found = findings(&run);
    let finding = first(&found, Cause::RateTooLow);
    assert!(
        finding.changes[0]
            .command
            .as_ref()
            .unwrap()
            .contains("--lr 5e-3"),
        "{finding:?}"
    );
    assert_eq!(causes(&found), [Cause::RateTooLow]);
}

#[test]
fn a_rate_too_high() {
    let house = House::new();
    let run = house.train(&house.tasks(300), &["--lr", "0.3", "--epochs", "3"]);
    let found = findings(&run);
    let finding = first(&found, Cause::RateTooHigh);
    assert!(
        finding.changes[0]
            .command
            .as_ref()
            .unwrap()
            .contains("--lr 5e-3"),
        "{finding:?}"
    );
}

/// Then neither a higher rate nor more steps are worth a try, whatever the loss does.
#[test]
fn a_rate_too_high_is_the_only_finding() {
    let house = House::new();
    let data = house.tasks(120);
    for steps in ["12", "40"] {
        let flags = [
            "--lr",
            "0.3",
            "--batch",
            "2",
            "--eval-every",
            "20",
            "--steps",
            steps,
        ];
        let found = findings(&house.train_as(&format!("run-{steps}"), &data, &flags));
        assert_eq!(causes(&found), [Cause::RateTooHigh], "{found:#?}");
    }
}

#[test]
fn a_rate_that_breaks_the_adapter_without_a_jump() {
    let house = House::new();
    let found = findings(&house.train(&house.tasks(400), &["--lr", "0.2", "--epochs", "4"]));
    let finding = first(&found, Cause::RateTooHigh);
    let seen = &finding.evidence[0];
    assert!(
        seen.contains("whatever is asked") || seen.contains("stands still"),
        "{finding:?}"
    );
    assert!(finding.title.contains("stuck"), "{finding:?}");
}

#[test]
fn a_run_that_was_too_short() {
    let house = House::new();
    let found = findings(&house.train(
        &house.tasks(400),
        &["--lr", "1e-3", "--steps", "40", "--eval-every", "10"],
    ));
    first(&found, Cause::StoppedEarly);
}

#[test]
fn a_warmup_longer_than_the_run() {
    let house = House::new();
    let run = house.train(
        &house.tasks(200),
        &["--lr", RATE, "--warmup", "100000", "--epochs", "2"],
    );
    let found = findings(&run);
    assert!(
        first(&found, Cause::WarmupNeverEnds).changes[0]
            .command
            .as_ref()
            .unwrap()
            .contains(" --lr 0.005")
    );
}

#[test]
fn an_adapter_scaled_away() {
    let house = House::new();
    let run = house.train(
        &house.tasks(200),
        &["--lr", "5e-4", "--alpha", "0.001", "--epochs", "2"],
    );
    let found = findings(&run);
    assert!(causes(&found).contains(&Cause::ScaledAway), "{found:#?}");
    assert!(!causes(&found).contains(&Cause::NotLearning), "{found:#?}");
}

#[test]
fn the_wrong_modules() {
    let house = House::new();
    let targets = r"model\.layers\.0\.self_attn\.k_proj";
    let run = house.train(
        &house.tasks(300),
        &[
            "--lr",
            RATE,
            "--epochs",
            "2",
            "--rank",
            "2",
            "--targets",
            targets,
        ],
    );
    let found = findings(&run);
    let finding = first(&found, Cause::FewModules);
    assert!(
        finding.evidence[0].starts_with("1 modules (k_proj) in 1 of 4 layers"),
        "{finding:?}"
    );
    assert!(
        finding.changes[0]
            .command
            .as_ref()
            .unwrap()
            .contains("--targets all"),
        "{finding:?}"
    );
}

#[test]
fn no_better_than_the_base() {
    let house = House::new();
    let data = house.tasks(200);
    let run = house.train(&data, &["--lr", "1e-7", "--steps", "10"]);
    let (base, adapter, out) = (base(), run.display().to_string(), house.text("report"));
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
        &out,
    ]);
    let found = findings(&house.path(""));
    assert!(
        causes(&found).contains(&Cause::NoBetterThanBase),
        "{found:#?}"
    );
}

#[test]
fn a_step_that_failed_and_a_run_that_was_cut_off() {
    let house = House::new();
    let run = house.train(
        &house.tasks(100),
        &["--lr", RATE, "--epochs", "3", "--eval-every", "40"],
    );
    std::fs::remove_file(run.join("receipt.json")).unwrap();
    std::fs::write(
        house.path("eval.log"),
        "scoring\nerror: the loss is NaN at step 3\nhint: a lower --lr\n",
    )
    .unwrap();
    let all = diagnose(&house.path("")).unwrap();
    let causes: Vec<Cause> = all.iter().flat_map(|d| causes(&d.findings)).collect();
    assert_eq!(causes, [Cause::Failed, Cause::Unfinished], "{all:#?}");
    assert!(
        all[0].findings[0]
            .evidence
            .iter()
            .any(|line| line.contains("NaN")),
        "{all:#?}"
    );
}

#[test]
fn what_is_no_run_says_so() {
    let house = House::new();
    let error = diagnose(&house.path("")).unwrap_err().render(str::to_owned);
    assert!(
        error.contains("holds no training") && error.contains("hint:"),
        "{error}"
    );
    assert!(
        diagnose(Path::new("/no/such/run"))
            .unwrap_err()
            .render(str::to_owned)
            .contains("/no/such/run")
    );
    std::fs::write(house.path("metrics.jsonl"), "{\"event\":\"step\"}\n{}\n").unwrap();
    let error = diagnose(&house.path("")).unwrap_err().render(str::to_owned);
    assert!(error.contains("metrics.jsonl, line 1"), "{error}");
}
