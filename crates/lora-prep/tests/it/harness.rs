//! Runs the command in a folder of its own.
use lora_data::{Manifest, Split};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The embedded model.
pub(crate) const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny-chat");

pub(crate) struct Folder(tempfile::TempDir);

/// What the command answered.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Events with this name.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let lines = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|event| event["event"] == name).collect()
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Runs the tool here with an input on stdin.
    pub(crate) fn pipe(&self, args: &[&str], stdin: &[u8]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lora-prep"));
        command
            .args(args)
            .current_dir(self.0.path())
            .env("RUST_BACKTRACE", "0");
        Answer::of(lora_testkit::piped(&mut command, stdin))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        self.pipe(args, b"")
    }

    /// Prepares `raw` into `out` with the embedded model.
    pub(crate) fn prep(&self, raw: &str, out: &str, more: &[&str]) -> Answer {
        self.run(&[&[raw, "--base", BASE, "--out", out], more].concat())
    }

    pub(crate) fn split(&self, out: &str, name: &str) -> Split {
        Split::read(&self.path(out), name).unwrap()
    }

    pub(crate) fn manifest(&self, out: &str) -> Manifest {
        Manifest::read(&self.path(out)).unwrap()
    }

    /// Names in this folder.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// `rows` different prompts, each `times` with another completion.
pub(crate) fn pairs(rows: usize, times: usize) -> String {
    let row = |row: usize, time: usize| {
        format!("{{\"prompt\": \"what is {row}\", \"completion\": \"it is {time}\"}}\n")
    };
    (0..rows * times)
        .map(|n| row(n / times, n % times))
        .collect()
}

/// Rows of a file, as JSON lines.
pub(crate) fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}
