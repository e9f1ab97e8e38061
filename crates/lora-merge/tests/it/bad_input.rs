//! Wrong input: exit 2, one clear line, nothing half written.
use crate::harness::{CASES, assert_code, case, changed_adapter, merge, stderr};
use std::path::Path;

#[track_caller]
fn refused(dir: &Path, base: Option<&Path>, adapter: &Path, more: &[&str], words: &[&str]) {
    let output = merge(dir, base, adapter, more);
    assert_code(&output, 2);
    let text = stderr(&output);
    assert!(
        text.lines().any(|line| line.starts_with("error:")),
        "{text}"
    );
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    assert!(
        !dir.join("out").exists() && !dir.join("out.partial").exists(),
        "something was left"
    );
}

#[test]
fn an_adapter_for_another_base_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    refused(
        dir.path(),
        Some(&case(CASES[0]).join("base")),
        &case(CASES[1]).join("adapter"),
        &[],
        &["lora_"],
    );
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = case(CASES[0]).join("base");
    let adapter = changed_adapter(dir.path(), CASES[0], |key, value| {
        if key.contains("k_proj.lora_B") {
            f32::NAN
        } else {
            value
        }
    });
    refused(dir.path(), Some(&base), &adapter, &[], &["k_proj", "NaN"]);
    let adapter = changed_adapter(dir.path(), CASES[0], |_, value| value * 1e4);
    refused(
        dir.path(),
        Some(&base),
        &adapter,
        &["--dtype", "f16"],
        &["too large for f16", "--dtype bf16"],
    );
}

#[test]
fn flags_that_no_check_reads_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (base, adapter) = (case(CASES[0]).join("base"), case(CASES[0]).join("adapter"));
    for (more, words) in [
        (
            &["--check-rows", "0", "--data", "d"][..],
            "--data has no effect with --check-rows 0",
        ),
        (&["--split", "test"], "--split has no effect without --data"),
    ] {
        refused(dir.path(), Some(&base), &adapter, more, &[words]);
    }
}

#[test]
fn a_base_that_nobody_names_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    refused(
        dir.path(),
        None,
        &case(CASES[0]).join("adapter"),
        &[],
        &["base", "--base MODEL"],
    );
}

#[test]
fn missing_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let base = case(CASES[0]).join("base");
    refused(
        dir.path(),
        Some(&base),
        Path::new("nowhere"),
        &[],
        &["nowhere"],
    );
    refused(
        dir.path(),
        Some(Path::new("nothing")),
        &case(CASES[0]).join("adapter"),
        &[],
        &["nothing"],
    );
    refused(
        dir.path(),
        Some(&base),
        &case(CASES[0]).join("adapter"),
        &["--data", "no-data"],
        &["no-data"],
    );
}
