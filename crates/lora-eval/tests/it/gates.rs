//! Gates say no with exit 1, and the report is there all the same.
use crate::harness::{CASES, assert_code, case, dataset, eval, examples, json, stderr};

fn run(gates: &[&str], adapter: &str) -> (std::process::Output, Option<serde_json::Value>) {
    let name = CASES[0];
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), examples(name), None);
    let adapter = case(name).join(adapter);
    let more = [&["--adapter", adapter.to_str().unwrap()], gates].concat();
    let output = eval(dir.path(), &case(name).join("base"), &data, &more);
    let report = dir.path().join("out/report.json");
    let report = report.exists().then(|| json(&report));
    (output, report)
}

#[test]
fn a_trained_adapter_beats_its_base_and_a_random_one_does_not() {
    let (output, report) = run(&["--must-beat-base"], "adapter_trained");
    assert_code(&output, 0);
    assert_eq!(report.unwrap()["gates"][0]["passed"], true);

    let (output, report) = run(&["--must-beat-base"], "adapter");
    assert_code(&output, 1);
    let report = report.unwrap();
    assert_eq!(
        (&report["gates"][0]["passed"], &report["passed"]),
        (&false.into(), &false.into())
    );
    assert!(
        stderr(&output).contains("must-beat-base (adapter): loss − base"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_loss_above_the_limit_is_a_no() {
    let (output, report) = run(&["--max-nll", "4", "--must-beat-base"], "adapter_trained");
    assert_code(&output, 0);
    assert_eq!(report.unwrap()["gates"].as_array().unwrap().len(), 2);
    let (output, _) = run(&["--max-nll", "0.5"], "adapter_trained");
    assert_code(&output, 1);
    assert!(
        stderr(&output).contains("at most 0.5 wanted"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_gate_that_can_not_be_judged_is_an_error() {
    let (output, report) = run(&["--min-exact-match", "0.5"], "adapter");
    assert_code(&output, 2);
    assert!(
        report.is_none() && stderr(&output).contains("--min-exact-match needs generated answers")
    );
}
