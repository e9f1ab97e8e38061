//! The main job as the README runs it: the real tools on the embedded model and data, end to end.
use crate::House;
use std::fs;
use std::path::Path;

/// A copy of what `just pipeline finetune.yaml` reads, so that nothing of the checkout is touched.
fn embedded() -> House {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pipeline = fs::read_to_string(root.join("pipelines/finetune.yaml")).unwrap();
    let house = House::new(&pipeline);
    fs::create_dir_all(house.path("data/tiny-chat")).unwrap();
    for folder in ["data", "data/tiny-chat"] {
        for entry in fs::read_dir(root.join(folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), house.path(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    house
}

#[test]
fn the_embedded_model_learns_the_task_and_nothing_is_done_twice() {
    let house = embedded();
    let running = |step: &str| format!("{step}: running (first run)");
    let steps = ["prep", "train", "eval", "merge", "export", "adapter"];
    assert_eq!(house.steps(&[]), steps.map(running));

    let report: serde_json::Value =
        serde_json::from_str(&house.read("work/p/eval/report.json")).unwrap();
    let exact = |model: usize| {
        report["models"][model]["exact_match"]["rate"]
            .as_f64()
            .unwrap()
    };
    assert!(
        exact(0) < 0.01,
        "the base can't know the task API: {}",
        exact(0)
    );
    assert!(
        exact(1) >= 0.9,
        "held-out exact match after fine-tuning: {}",
        exact(1)
    );

    assert_eq!(
        house.steps(&[]),
        steps.map(|step| format!("{step}: skipped"))
    );
    let said = house.run(&["p.yaml", "--set", "lr=4e-3", "--dry-run"]);
    let would: Vec<&str> = said
        .stdout
        .lines()
        .filter(|line| line.contains("\"would\":\"run\""))
        .collect();
    assert_eq!(would.len(), steps.len() - 1, "{said:?}");
    assert!(
        would[0].contains("\"step\":\"train\"") && would[0].contains("with.lr: 0.005 → 0.004"),
        "{said:?}"
    );
}

/// Every pipeline of the repository is one: it parses, its flags are the tools' own, and its steps find each other.
#[test]
fn every_pipeline_that_teaches_can_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut walked = 0;
    for entry in fs::read_dir(root.join("pipelines")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        walked += 1;
        let work = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lora-run"));
        command.current_dir(&root).arg(&file).arg("--dry-run");
        command.arg("--work").arg(work.path());
        // Models and data that a person brings.
        let text = fs::read_to_string(&file).unwrap();
        for (param, stands_for_it) in [("base", "data/tiny-chat"), ("raw", "data/tasks.jsonl")] {
            let own = text
                .lines()
                .find_map(|line| line.trim().strip_prefix(&format!("{param}: ")));
            if own.is_some_and(|path| !root.join(path).exists()) {
                command.args(["--set", &format!("{param}={stands_for_it}")]);
            }
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", file.display());
    }
    assert!(walked >= 7, "walked only {walked} pipelines");
}
