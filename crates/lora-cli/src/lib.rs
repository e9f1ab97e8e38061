//! The only crate that talks to people and machines: arguments, progress, JSON lines, errors and exit codes.
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a tool ends with when nothing went wrong.
#[derive(Debug)]
pub enum Status {
    /// Exit 0.
    Done,
    /// Exit 1: the honest answer is no (a gate that did not pass); the reason, one line.
    No(String),
}

/// A failure on its way to the user: a message, its chain of causes and at most one hint. Exit 2.
/// A library error's Display may end in `\nhint: …`; that line is shown as the hint.
#[derive(Debug)]
pub struct Error {}

impl Error {
    /// A failure of the tool's own.
    pub fn new(_message: impl Into<String>) -> Self {
        todo!()
    }
    /// The way out, shown as one `hint:` line.
    #[must_use]
    pub fn hint(self, _hint: impl Into<String>) -> Self {
        todo!()
    }
    /// What was being done; the former message becomes the first `cause:`.
    #[must_use]
    pub fn context(self, _message: impl Into<String>) -> Self {
        todo!()
    }
    /// The user pressed Ctrl-C: exit 130.
    pub fn interrupted() -> Self {
        todo!()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(_error: E) -> Self {
        todo!()
    }
}

/// Result of a tool's work.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Flags that every tool has; flatten with `#[command(flatten)] #[serde(skip)]`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Common {
    /// Print JSON lines on stdout (the default whenever stdout is not a terminal).
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Print nothing on stderr but errors.
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
}

/// A tool's argument struct: clap parser that gives access to its common flags.
pub trait ToolArgs: clap::Parser {
    /// The flattened [`Common`] flags.
    fn common(&self) -> &Common;
}

/// The body of every tool's `main`: parses, installs Ctrl-C, runs, renders errors, picks the exit code.
pub fn main<A: ToolArgs>(_run: fn(A, &Ui) -> Result<Status>) -> ExitCode {
    todo!()
}

/// How a tool talks while it works.
#[derive(Debug, Clone)]
pub struct Ui {}

impl Ui {
    /// A silent one, for tests and for calling one tool from another.
    pub fn silent() -> Self {
        todo!()
    }
    /// True if stdout gets JSON lines, false if it gets tables for people.
    pub fn json(&self) -> bool {
        todo!()
    }
    /// One event as one JSON line on stdout (only in JSON mode). A closed pipe is not an error.
    pub fn event<T: serde::Serialize>(&self, _event: &T) {
        todo!()
    }
    /// One line of results for people on stdout (only outside JSON mode).
    pub fn out(&self, _line: &str) {
        todo!()
    }
    /// One line about the work, for people, on stderr (not with --quiet). Safe beside a progress bar.
    pub fn say(&self, _line: &str) {
        todo!()
    }
    /// One `warning:` line on stderr.
    pub fn warn(&self, _line: &str) {
        todo!()
    }
    /// Starts a progress bar over `total` units on a terminal, sparse plain lines otherwise, nothing with --quiet.
    /// Shows the rate in `unit`/s and the time left.
    pub fn progress(&self, _label: &str, _total: u64, _unit: &str) -> Progress {
        todo!()
    }
    /// Fails with [`Error::interrupted`] once Ctrl-C was pressed; call it between units of work.
    pub fn check_interrupt(&self) -> Result<()> {
        todo!()
    }
    /// Prints the receipt as the last JSON line of stdout (JSON mode), or the output path for people.
    pub fn receipt(&self, _receipt: &lora_receipt::Receipt) {
        todo!()
    }
}

/// A running progress display; finishes when dropped.
#[derive(Debug)]
pub struct Progress {}

impl Progress {
    /// `n` more units are done.
    pub fn inc(&self, _n: u64) {
        todo!()
    }
    /// A short text behind the bar, e.g. `loss 1.234  812 tok/s`.
    pub fn message(&self, _text: String) {
        todo!()
    }
}

/// Resolves an artefact input: `-` reads an upstream receipt (last JSON line of stdin) and checks its kind.
pub fn artefact_input(_path: &Path, _kind: lora_receipt::Artefact) -> Result<PathBuf> {
    todo!()
}
