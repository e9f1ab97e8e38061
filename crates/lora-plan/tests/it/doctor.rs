//! Runs made to fail in every way that the doctor knows, and a healthy one.
use crate::house::{House, base, eval, export, merge, prep};
use lora_plan::{Cause, Finding, diagnose};
use std::collections::BTreeSet;
use std::path::Path;

/// A good rate on the embedded model.
const RATE: &str = "5e-3";

fn findings(run: &Path) -> Vec<Finding> {
    let mut all = diagnose(run).unwrap_or_else(|e| panic!("{}", e.render(str::to_owned)));
    assert_eq!(all.len(), 1, "{all:?}");
    outputs(&all[0].findings);
    all.remove(0).findings
}

/// What the commands write, in their order: each its own, and nothing that lies there, unless that is to be replaced.
fn outputs<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Vec<String> {
    let commands = findings
        .into_iter()
        .flat_map(|f| &f.changes)
        .filter_map(|change| change.command.as_deref());
    let mut found = Vec::new();
    for command in commands.filter(|command| !command.contains(" --force ")) {
        let Some((_, out)) = command.rsplit_once(" --out ") else {
            assert!(command.starts_with("lora-prep show "), "{command}");
            continue;
        };
        assert!(!Path::new(out).exists(), "{command}");
        found.push(out.to_owned());
    }
    assert_eq!(
        found.iter().collect::<BTreeSet<_>>().len(),
        found.len(),
        "{found:#?}"
    );
    found
}

fn causes(findings: &[Finding]) -> Vec<Cause> {
    findings.iter().map(|finding| finding.cause).collect()
}

/// The first finding is this one, has evidence, and its first command can be run as it stands.
fn first(findings: &[Finding], cause: Cause) -> &Finding {
    assert_eq!(
        findings.first().map(|f| f.cause),
        Some(cause),
        "{findings:#?}"
    );
    assert!(
        !findings[0].evidence.is_empty() && !findings[0].changes.is_empty(),
        "{findings:#?}"
    );
    for command in findings
        .iter()
        .flat_map(|f| &f.changes)
        .filter_map(|change| change.command.as_ref())
    {
        if let Some(flags) = command.strip_prefix("lora-train ") {
            let words = std::iter::once("lora-train").chain(flags.split(' '));
            <lora_train::Args as clap::Parser>::try_parse_from(words)
                .unwrap_or_else(|e| panic!("{command}\n{e}"));
        }
    }
    &findings[0]
}

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
