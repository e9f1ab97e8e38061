//! Events that every tool writes on stdout in JSON mode, beside those of its own and its receipt.
use serde::{Deserialize, Serialize};

/// A line that is not a tool's own matter. Whatever else stands on stdout (metrics, rows, the receipt) is no [`Event`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// How far the work is; only if asked for.
    Progress(Progress),
    /// Something that a person should know, and that stops nothing.
    Warning(Warning),
    /// The last line of a tool that failed.
    Error(Failure),
    /// The last line of a tool whose honest answer is no: `message` is the reason.
    No(Failure),
}

/// How far the work is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The work, e.g. `train`.
    pub label: String,
    /// Units done, those of an interrupted run included.
    pub done: u64,
    /// Units that an interrupted run had done before this one began.
    #[serde(default)]
    pub before: u64,
    /// All units; 0 if that is not known.
    pub total: u64,
    /// What is counted, e.g. `step`.
    pub unit: String,
    /// A few figures, e.g. `loss 1.234`.
    #[serde(default)]
    pub message: String,
    /// True for the last event of this work.
    #[serde(default)]
    pub ended: bool,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// One line.
    pub message: String,
}

/// Why a tool ended without success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub message: String,
    /// The causes below it, the innermost last.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The way out, if one is known.
    #[serde(default)]
    pub hint: Option<String>,
    /// The exit code that follows.
    pub exit_code: u8,
}

impl Event {
    /// The event on one line of stdout; none if the line is something else.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}
