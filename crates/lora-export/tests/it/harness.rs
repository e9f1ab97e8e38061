//! Fixtures and runs of the tool.
pub(crate) use lora_testkit::{receipt, stderr};
use std::path::Path;
use std::process::{Command, Output};

/// The embedded model: a whole Hugging Face folder with tokenizer and template.
pub(crate) fn tiny() -> String {
    lora_testkit::tiny_chat().display().to_string()
}

/// A path in a golden case.
pub(crate) fn golden(path: &str) -> String {
    lora_testkit::golden(path).display().to_string()
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
    command.current_dir(dir).args(args);
    lora_testkit::piped(&mut command, stdin.as_bytes())
}
