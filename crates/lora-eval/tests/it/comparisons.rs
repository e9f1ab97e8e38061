//! Several adapters on one loaded base, compared with each other.
use crate::harness::{CASES, assert_code, case, dataset, eval, examples, json};
use lora_eval::Report;
use serde_json::Value;

#[test]
fn adapters_are_compared_with_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let name = CASES[0];
    let data = dataset(dir.path(), examples(name), None);
    let (adapter, trained) = (
        case(name).join("adapter"),
        case(name).join("adapter_trained"),
    );
    let paths = [&adapter, &trained, &adapter].map(|path| path.to_str().unwrap());
    let output = eval(
        dir.path(),
        &case(name).join("base"),
        &data,
        &[
            "--adapter",
            paths[0],
            "--adapter",
            paths[1],
            "--adapter",
            paths[2],
        ],
    );
    assert_code(&output, 0);

    let report: Report = serde_json::from_value(json(&dir.path().join("out/report.json"))).unwrap();
    let nll = |name: &str| {
        report
            .models
            .iter()
            .find(|model| model.name == name)
            .unwrap()
            .nll
    };
    let pairs: Vec<_> = report
        .comparisons
        .iter()
        .map(|c| (c.first.as_str(), c.second.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("adapter", "adapter_trained"),
            ("adapter", "adapter-2"),
            ("adapter_trained", "adapter-2")
        ],
        "every pair once"
    );
    for c in &report.comparisons {
        assert!(
            (c.loss.nll - (nll(&c.second) - nll(&c.first))).abs() < 1e-9,
            "{c:?}"
        );
    }
    let same = &report.comparisons[1];
    assert_eq!(
        (same.loss.nll, same.better.as_deref()),
        (0.0, None),
        "the same adapter twice is no difference"
    );
    let mirrored = (&report.comparisons[0].loss, &report.comparisons[2].loss);
    assert!(
        (mirrored.0.nll + mirrored.1.nll).abs() < 1e-12
            && mirrored.0.standard_error == mirrored.1.standard_error
    );

    let lines = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let compared = events
        .iter()
        .filter(|event| event["event"] == "comparison")
        .count();
    assert_eq!(compared, 3);
    assert_eq!(
        events.last().unwrap()["results"]["comparisons"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}
