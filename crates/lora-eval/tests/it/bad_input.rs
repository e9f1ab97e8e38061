//! Wrong input: exit 2, one clear line, nothing half written.
use crate::harness::{
    CASES, assert_code, base_with_tokenizer, case, dataset, eval, examples, stderr,
};
use std::path::Path;

#[track_caller]
fn refused(dir: &Path, base: &Path, data: &Path, more: &[&str], words: &[&str]) {
    let output = eval(dir, base, data, more);
    assert_code(&output, 2);
    let text = stderr(&output);
    assert!(text.starts_with("error:"), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    assert!(
        !dir.join("out").exists() && !dir.join("out.partial").exists(),
        "something was left"
    );
}

#[test]
fn a_dataset_of_another_tokenizer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_with_tokenizer(dir.path(), CASES[0]);
    let data = dataset(dir.path(), examples(CASES[0]), Some(&"0".repeat(64)));
    refused(dir.path(), &base, &data, &[], &["tokenizer", "hint:"]);
}

#[test]
fn ids_beyond_the_vocabulary_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = examples(CASES[0]);
    rows[1].input_ids[0] = 5000;
    let data = dataset(dir.path(), rows, None);
    refused(
        dir.path(),
        &case(CASES[0]).join("base"),
        &data,
        &[],
        &["5000"],
    );
}

#[test]
fn an_adapter_for_another_base_is_named_with_both_shapes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), examples(CASES[0]), None);
    let adapter = case(CASES[1]).join("adapter");
    refused(
        dir.path(),
        &case(CASES[0]).join("base"),
        &data,
        &["--adapter", adapter.to_str().unwrap()],
        &["lora_"],
    );
}

#[test]
fn missing_files_and_splits_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), examples(CASES[0]), None);
    let base = case(CASES[0]).join("base");
    refused(
        dir.path(),
        &base,
        &data,
        &["--split", "test"],
        &["test.parquet"],
    );
    refused(dir.path(), &dir.path().join("none"), &data, &[], &["none"]);
    refused(
        dir.path(),
        &base,
        &data,
        &["--adapter", "nowhere"],
        &["nowhere"],
    );
}

#[test]
fn usage_errors_come_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let none = Path::new("none");
    refused(
        dir.path(),
        none,
        none,
        &["--must-beat-base"],
        &["--must-beat-base needs an adapter", "hint:"],
    );
    refused(
        dir.path(),
        none,
        none,
        &["--min-exact-match", "90"],
        &["from 0 to 1", "0.9"],
    );
    refused(dir.path(), none, none, &["--generate", "some"], &["some"]);
    refused(
        dir.path(),
        none,
        none,
        &["--batch-tokens", "0"],
        &["--batch-tokens"],
    );
    refused(
        dir.path(),
        Path::new("-"),
        Path::new("-"),
        &[],
        &["only one input"],
    );
}

#[test]
fn an_existing_output_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), examples(CASES[0]), None);
    std::fs::create_dir(dir.path().join("out")).unwrap();
    std::fs::write(dir.path().join("out/precious"), "x").unwrap();
    let output = eval(dir.path(), &case(CASES[0]).join("base"), &data, &[]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("--force") && dir.path().join("out/precious").exists());
}

#[test]
fn one_file_has_one_split_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let base = case(CASES[0]).join("base");
    let data = dataset(dir.path(), examples(CASES[0]), None);
    let file = dir.path().join("rows.parquet");
    std::fs::copy(data.join("valid.parquet"), &file).unwrap();
    let chooses_nothing = "it is one file, of which --split test chooses nothing";
    refused(
        dir.path(),
        &base,
        &file,
        &["--split", "test"],
        &[chooses_nothing],
    );
    assert_code(&eval(dir.path(), &base, &file, &["--generate", "0"]), 0);
    let report = std::fs::read_to_string(dir.path().join("out/report.json")).unwrap();
    assert!(report.contains("\"split\": \"rows\""), "{report}");
}
