//! What is not as its tool wrote it is said, whatever else is read in it.
use crate::house::{House, base, eval};
use lora_cli::Ui;
use lora_plan::{Cause, compare, diagnose};

/// What doctor says of damage in the house's folder.
fn damage(house: &House) -> Vec<String> {
    let all = diagnose(&house.path("")).unwrap();
    let findings = all.into_iter().flat_map(|diagnosis| diagnosis.findings);
    let damaged = findings.filter(|finding| finding.cause == Cause::Damaged);
    damaged.flat_map(|finding| finding.evidence).collect()
}

#[test]
fn a_changed_figure_a_lost_line_and_an_unreadable_receipt_are_named() {
    let house = House::new();
    let data = house.tasks(120);
    let run = house.train(&data, &["--lr", "5e-3", "--epochs", "2"]);
    let adapter = run.display().to_string();
    let report = house.text("report");
    let words = ["--base", &base(), "--data", &data, "--adapter", &adapter];
    eval(&[&words[..], &["--generate", "0", "--out", &report]].concat());
    assert_eq!(damage(&house), [""; 0]);

    type Edit = fn(&str) -> String;
    let edits: [(&str, Edit); 4] = [
        ("metrics.jsonl", |text| {
            text.lines().skip(1).collect::<Vec<_>>().join("\n") + "\n"
        }),
        ("metrics.jsonl", |text| {
            text.replacen("\"loss\":", "\"loss\":1", 1)
        }),
        ("report.json", |text| {
            text.replacen("\"nll\": ", "\"nll\": 1", 1)
        }),
        ("report receipt", |text| text[..text.len() / 2].to_owned()),
    ];
    for (name, edit) in edits {
        let path = match name {
            "metrics.jsonl" => run.join(name),
            "report.json" => house.path("report/report.json"),
            _ => house.path("report/receipt.json"),
        };
        let whole = std::fs::read_to_string(&path).unwrap();
        let harmed = edit(&whole);
        assert_ne!(whole, harmed);
        std::fs::write(&path, harmed).unwrap();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let said = damage(&house);
        assert!(
            said.len() == 1 && said[0].contains(&file),
            "{name}: {said:?}"
        );
        // Figures that can still be read are compared, behind a warning.
        compare(&[house.path("")], &Ui::silent()).unwrap();
        std::fs::write(&path, whole).unwrap();
    }
    // What can't be read at all ends it, with the file's name.
    std::fs::write(house.path("report/report.json"), "{").unwrap();
    let error = diagnose(&house.path("")).unwrap_err().to_string();
    assert!(error.contains("report.json"), "{error}");
}
