//! A folder in which the tools are called one after the other, and the transcript of it.
use crate::clean::clean;
use lora_testkit::{repository, tiny_chat};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A new folder with `model` (the embedded one) and `rows.jsonl` (60 rows of the embedded task).
pub(crate) struct Session {
    dir: tempfile::TempDir,
    transcript: String,
    environment: Vec<(&'static str, String)>,
}

impl Session {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&tiny_chat(), &dir.path().join("model"));
        let rows = std::fs::read_to_string(repository("data/tasks.jsonl")).unwrap();
        let rows: String = rows.split_inclusive('\n').take(60).collect();
        std::fs::write(dir.path().join("rows.jsonl"), rows).unwrap();
        Self {
            dir,
            transcript: String::new(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// From now on the tools find this in their environment.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.push((name, value.into()));
    }

    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &String)> {
        self.environment.iter().map(|(name, value)| (*name, value))
    }

    /// What was called and said up to now.
    pub(crate) fn said(&self) -> &str {
        &self.transcript
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Calls a tool: its name and its arguments as a shell would take them, single quotes included.
    pub(crate) fn run(&mut self, line: &str) {
        let words = words(line);
        let program = tool(&words[0]);
        let output = Command::new(&program)
            .args(&words[1..])
            .current_dir(self.dir.path())
            .env_remove("RUST_BACKTRACE")
            .env("COLUMNS", "100")
            .envs(self.environment())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let said = clean(
            &format!("{stdout}{stderr}"),
            self.dir.path(),
            program.parent().unwrap(),
        );
        writeln!(self.transcript, "$ {line}\n{}", said.trim_end()).unwrap();
        match output.status.code() {
            Some(0) => self.transcript.push('\n'),
            code => writeln!(self.transcript, "[exit {}]\n", code.unwrap()).unwrap(),
        }
    }

    /// All that was called and said.
    pub(crate) fn transcript(self) -> String {
        self.transcript
    }
}

/// A tool's program, beside this test in the build's folder.
pub(crate) fn tool(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "{} is not built: `just test` and `just snapshots` build it",
        program.display()
    );
    program
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
