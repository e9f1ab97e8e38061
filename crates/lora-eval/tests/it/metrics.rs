//! Metrics of answers, slices, several references, commands, patterns and bounds, as a user gives them.
use crate::harness::{CASES, assert_code, base_with_tokenizer, case, eval, json, stderr};
use lora_checkpoint::Checkpoint;
use lora_core::Adapter;
use lora_data::{Example, IGNORE, Split};
use lora_model::{Base, Fused, Generate as _};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

const END: u32 = 2;

fn prompts() -> Vec<Vec<u32>> {
    (0..12)
        .map(|row| (0..4).map(|at| 10 + row * 5 + at).collect())
        .collect()
}

fn adapter() -> PathBuf {
    case(CASES[0]).join("adapter_trained")
}

/// What the adapter answers, five tokens a prompt.
fn answers(base: &Path) -> Vec<Vec<u32>> {
    let base = Base::open(base).unwrap();
    let (adapter, _) = Adapter::load(&adapter(), &base).unwrap();
    let prompts = prompts();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let mut route = Fused::new(&base, 1).unwrap();
    route.generate(Some(&adapter), &prompts, 5, &[END]).unwrap()
}

fn row(prompt: &[u32], completion: &[u32]) -> Example {
    let input_ids = [prompt, completion, &[END]].concat();
    let label = |(at, &id): (usize, &u32)| if at < prompt.len() { IGNORE } else { id as i32 };
    Example {
        labels: input_ids.iter().enumerate().map(label).collect(),
        input_ids,
        id: String::new(),
        group: format!("{prompt:?}"),
        prompt: format!("{prompt:?}"),
        completion: String::new(),
    }
}

struct Setup {
    dir: tempfile::TempDir,
    base: PathBuf,
    answers: Vec<Vec<u32>>,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = base_with_tokenizer(dir.path(), CASES[0]);
        let answers = answers(&base);
        Self { dir, base, answers }
    }

    /// Runs on rows that expect these ids, with further columns.
    fn run(
        &self,
        expected: &[Vec<u32>],
        columns: &[(&str, Vec<Option<&str>>)],
        flags: &[&str],
    ) -> Output {
        let prompts = prompts();
        let rows = prompts.iter().cycle().zip(expected);
        let split = Split {
            examples: rows
                .map(|(prompt, expected)| row(prompt, expected))
                .collect(),
            tokenizer_sha256: Some(
                Checkpoint::open(&self.base)
                    .unwrap()
                    .tokenizer()
                    .unwrap()
                    .sha256,
            ),
            template_sha256: None,
            chat: None,
        };
        let data = self.dir.path().join("data");
        let _ = std::fs::remove_dir_all(&data);
        std::fs::create_dir(&data).unwrap();
        split
            .write_with(&data.join("valid.parquet"), columns)
            .unwrap();
        let _ = std::fs::remove_dir_all(self.dir.path().join("out"));
        let adapter = adapter();
        let common = [
            "--adapter",
            adapter.to_str().unwrap(),
            "--max-new-tokens",
            "5",
        ];
        eval(
            self.dir.path(),
            &self.base,
            &data,
            &[&common, flags].concat(),
        )
    }

    fn report(&self) -> Value {
        json(&self.dir.path().join("out/report.json"))
    }
}

fn figure<'r>(report: &'r Value, model: usize, metric: &str) -> &'r Value {
    let metrics = report["models"][model]["metrics"].as_array().unwrap();
    metrics
        .iter()
        .find(|figure| figure["metric"] == metric)
        .unwrap()
}

/// Each row expects what the adapter says to the next prompt.
fn of_others(answers: &[Vec<u32>]) -> Vec<Vec<u32>> {
    answers
        .iter()
        .cycle()
        .skip(1)
        .take(answers.len())
        .cloned()
        .collect()
}

#[test]
fn right_answers_are_better_than_the_base_by_every_metric_and_pass() {
    let setup = Setup::new();
    let flags = [
        "--metrics",
        "rouge_l,chrf,bleu,token_f1",
        "--gate",
        "rouge_l >= 0.9",
        "--gate",
        "chrf > base",
    ];
    let output = setup.run(&setup.answers, &[], &flags);
    assert_code(&output, 0);
    let report = setup.report();
    for (metric, full) in [
        ("rouge_l", 1.0),
        ("chrf", 100.0),
        ("bleu", 100.0),
        ("exact_match", 1.0),
    ] {
        let found = figure(&report, 1, metric);
        assert!(
            (found["value"].as_f64().unwrap() - full).abs() < 1e-9,
            "{found}"
        );
        assert_eq!(found["against_base"]["verdict"], "better", "{found}");
        assert!(
            found["low"].as_f64().unwrap() < full,
            "certainty takes more than 12 prompts"
        );
        assert!(
            found["chance"]["value"].as_f64().unwrap() < 0.7 * full,
            "{found}"
        );
    }
    assert_eq!(report["gates"].as_array().unwrap().len(), 2);
    let tests = report["tests"].as_u64().unwrap();
    assert_eq!(tests, 7, "loss, token accuracy and five metrics of answers");
}

#[test]
fn answers_to_other_prompts_pass_no_bound_however_low() {
    let setup = Setup::new();
    let flags = [
        "--metrics",
        "chrf,token_f1",
        "--gate",
        "chrf >= 1",
        "--gate",
        "token_f1 >= 0.0001",
        "--gate",
        "loss <= 100",
    ];
    let output = setup.run(&of_others(&setup.answers), &[], &flags);
    assert_code(&output, 1);
    let report = setup.report();
    for gate in report["gates"].as_array().unwrap() {
        let reason = gate["reason"].as_str().unwrap();
        assert_eq!(gate["passed"], false, "{gate}");
        assert!(
            reason.contains("don't answer their prompts")
                || reason.contains("form of the answers")
                || reason.starts_with("token_f1 0.0000"),
            "{reason}"
        );
    }
}

#[test]
fn a_lower_loss_on_answers_of_other_prompts_does_not_beat_the_base() {
    let setup = Setup::new();
    let output = setup.run(
        &of_others(&setup.answers),
        &[],
        &["--must-beat-base", "--generate", "0"],
    );
    assert_code(&output, 1);
    let output = setup.run(
        &setup.answers,
        &[],
        &["--must-beat-base", "--generate", "0"],
    );
    assert_code(&output, 0);
    let reason = setup.report()["gates"][0]["reason"].to_string();
    assert!(reason.contains("it answers to its prompts"), "{reason}");
}

#[test]
fn slices_and_references_come_from_columns() {
    let setup = Setup::new();
    let kinds: Vec<_> = (0..12)
        .map(|row| Some(if row < 4 { "few" } else { "many" }))
        .collect();
    let words = |ids: &Vec<u32>| {
        ids.iter()
            .map(|id| format!("w{id}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let right: Vec<String> = setup
        .answers
        .iter()
        .map(|ids| serde_json::json!(["no", words(ids)]).to_string())
        .collect();
    let right: Vec<_> = right.iter().map(|text| Some(text.as_str())).collect();
    let columns = [("kind", kinds), ("right", right)];
    let expected = vec![vec![90, 91]; 12];
    assert_code(
        &setup.run(
            &expected,
            &columns,
            &["--slice", "kind", "--references", "right"],
        ),
        0,
    );
    let report = setup.report();
    assert_eq!(report["models"][1]["exact_match"]["rate"], 1.0);
    let slices = report["slices"].as_array().unwrap();
    let counted: Vec<_> = slices
        .iter()
        .map(|s| (s["value"].as_str().unwrap(), s["rows"].as_u64().unwrap()))
        .collect();
    assert_eq!(counted, [("few", 4), ("many", 8)]);
    let loss = |at: usize| {
        let metrics = slices[at]["models"][0]["metrics"].as_array().unwrap();
        metrics[0]["value"].as_f64().unwrap()
    };
    let whole = report["models"][0]["nll"].as_f64().unwrap();
    assert!(
        (whole - (4.0 * loss(0) + 8.0 * loss(1)) / 12.0).abs() < 1e-9,
        "rows of equal length"
    );

    let missing = setup.run(&expected, &columns, &["--slice", "sort"]);
    assert_code(&missing, 2);
    let said = stderr(&missing);
    assert!(
        said.contains("column 'sort' is missing") && said.contains("kind, right"),
        "{said}"
    );
}

#[test]
fn rows_of_one_prompt_are_right_answers_of_each_other() {
    let setup = Setup::new();
    let twice = [vec![vec![90, 91]; 12], setup.answers.clone()].concat();
    assert_code(&setup.run(&twice, &[], &[]), 0);
    assert_eq!(setup.report()["models"][1]["exact_match"]["rate"], 0.5);
    assert_code(&setup.run(&twice, &[], &["--references", "same-prompt"]), 0);
    assert_eq!(setup.report()["models"][1]["exact_match"]["rate"], 1.0);
}

#[cfg(unix)]
#[test]
fn a_pattern_takes_what_counts_and_a_command_gives_scores() {
    let setup = Setup::new();
    let longer: Vec<Vec<u32>> = setup
        .answers
        .iter()
        .map(|ids| [&ids[..1], &[90][..]].concat())
        .collect();
    let flags = [
        "--regex",
        "^(w[0-9]+)",
        "--metric-command",
        "long=sed 's/.*/3/'",
        "--gates",
        "long >= 3",
    ];
    assert_code(&setup.run(&longer, &[], &flags), 0);
    let report = setup.report();
    assert_eq!(report["models"][1]["exact_match"]["rate"], 1.0);
    assert_eq!(figure(&report, 1, "long")["value"], 3.0);
    assert_eq!(
        figure(&report, 1, "long")["against_base"]["verdict"],
        "can't tell"
    );
    let failing = setup.run(&longer, &[], &["--metric-command", "echo 1; exit 3"]);
    assert_code(&failing, 2);
    assert!(
        stderr(&failing).contains("the metric command `echo 1; exit 3` failed"),
        "{}",
        stderr(&failing)
    );
}

#[test]
fn a_pattern_that_takes_nothing_is_said() {
    let setup = Setup::new();
    let output = setup.run(&setup.answers, &[], &["--regex", "#### ([0-9]+)"]);
    assert_code(&output, 0);
    assert!(
        stderr(&output).contains("--regex takes nothing of any of the"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_can_not_be_measured_is_refused_before_anything_is() {
    let setup = Setup::new();
    for (flags, wanted) in [
        (&["--metrics", "rogue"][..], "there is no metric `rogue`"),
        (&["--gate", "rogue > 1"], "there is no metric `rogue`"),
        (&["--gate", "loss"], "expected METRIC >= NUMBER"),
        (
            &["--gate", "bleu > 1", "--generate", "0"],
            "needs generated answers",
        ),
        (
            &["--metric-command", "bleu=cat"],
            "two metrics are called `bleu`",
        ),
        (&["--regex", "("], "--regex is no regular expression"),
        (
            &["--temperature", "1", "--generate", "0"],
            "--temperature has no effect with --generate 0",
        ),
    ] {
        let output = setup.run(&setup.answers, &[], flags);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
        assert!(!setup.dir.path().join("out").exists());
    }
}
