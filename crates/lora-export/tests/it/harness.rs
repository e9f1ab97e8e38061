//! Fixtures and runs of the tool.
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A path below the repository's root.
pub(crate) fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The embedded model: a whole Hugging Face folder with tokenizer and template.
pub(crate) fn tiny() -> String {
    root("data/tiny-chat").display().to_string()
}

/// A path in a golden case.
pub(crate) fn golden(path: &str) -> String {
    root("tests/fixtures/golden")
        .join(path)
        .display()
        .to_string()
}

/// Runs lora-export in `dir`.
pub(crate) fn export(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lora-export"))
        .current_dir(dir)
        .args(args)
        .output()
        .unwrap()
}

/// Runs lora-export in `dir` behind a pipe.
pub(crate) fn export_piped(dir: &Path, stdin: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lora-export"));
    command
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

/// The receipt on the last line of a successful run.
#[track_caller]
pub(crate) fn receipt(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_str(
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .last()
            .unwrap(),
    )
    .unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
