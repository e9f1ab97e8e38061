//! What the tools tell each other, as types that writer and reader share: metrics.jsonl, report.json,
//! predictions.jsonl, and the events on stdout. No ML and no printing live here.
//!
//! Within a version fields may be added, and a reader ignores what it does not know. Where a field goes away or changes
//! its meaning, the version rises, and a reader refuses what it does not know.
mod description;
mod event;
mod figures;
mod lines;
mod metrics;
mod predictions;
mod report;

pub use description::{Description, Flag, Kind, Refusal, Role};
pub use event::{Event, Failure, Progress, Warning};
pub use figures::{
    Chance, Change, Difference, Figure, Guard, GuardModel, MetricChange, Slice, SliceModel, Verdict,
};
pub use metrics::{EvalMetric, Metric, StepMetric, metric_lines_until, read_metrics};
pub use predictions::{Answer, Prediction, read_predictions};
pub use report::{
    Comparison, ExactDifference, ExactMatch, GateResult, Generation, ModelReport, Report,
    TokenAccuracy,
};

use std::path::PathBuf;

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line is not what the tool writes.
    #[error("{path}, line {line}: {reason}")]
    #[diagnostic(help("expected the lines that {writer} writes"))]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
        /// The tool that writes such files.
        writer: &'static str,
    },
    /// The file as a whole is not what the tool writes.
    #[error("{path}: {reason}")]
    #[diagnostic(help("make it again with this release's {writer}"))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The tool that writes such files.
        writer: &'static str,
    },
}
