//! Why a training could not begin, go on or be saved.
use std::path::{Path, PathBuf};

/// Result of this crate's work.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a training could not begin, go on or be saved. Display is one line; the kind tells what the caller can offer as a
/// way out, in the words of its own settings.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The model could not be built or run.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] lora_model::Error),
    /// The adapter does not fit, or could not be saved.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Adapter(#[from] lora_core::Error),
    /// A setting that no run can have.
    #[error("{name} is {found}: expected {expected}")]
    Setting {
        /// Field of [`crate::TrainConfig`].
        name: &'static str,
        /// Its value.
        found: String,
        /// What it can be.
        expected: &'static str,
    },
    /// What learns is asked for where it is not.
    #[error("the adapter is not kept on a device")]
    NotResident,
    /// There are no rows to train on.
    #[error("there is no row to train on")]
    NoRows,
    /// The learning rate never leaves 0.
    #[error(
        "nothing would be learned: the run has one step, and a warm-up of {warmup_steps} gives it the learning rate 0"
    )]
    LearnsNothing {
        /// Steps of warm-up.
        warmup_steps: u64,
    },
    /// A checkpoint that can't be used, or not be made.
    #[error("{}: {what}", path.display())]
    Checkpoint {
        /// Its state file.
        path: PathBuf,
        /// What is wrong, one line.
        what: String,
    },
    /// Another file that is not what it should be.
    #[error("{}: {what}", path.display())]
    Invalid {
        /// File.
        path: PathBuf,
        /// What is wrong, one line.
        what: String,
    },
    /// The checkpoint is of a run with other settings or inputs.
    #[error("the interrupted run had another {name}: {was}, not {is}")]
    OtherRun {
        /// The first setting that differs.
        name: String,
        /// Its value then.
        was: Box<serde_json::Value>,
        /// Its value now.
        is: Box<serde_json::Value>,
    },
    /// The observer asked to stop; a checkpoint of the steps so far is written, if the run has a place for it.
    #[error("interrupted after step {step}")]
    Interrupted {
        /// Steps done.
        step: u64,
    },
    /// A loss, a gradient or a parameter is not finite.
    #[error("{what}{}", in_row(*row))]
    NotFinite {
        /// What, where and when, one line.
        what: String,
        /// The first training row of that step whose loss is not finite, counted from 0.
        row: Option<usize>,
        /// True if no step has changed a parameter yet: the cause then lies in the base, the adapter or the rows.
        at_start: bool,
    },
    /// A tensor that should train never would.
    #[error("the gradient of {tensor} is exactly zero at step {step}")]
    ZeroGradient {
        /// Which.
        tensor: String,
        /// Counted from 1.
        step: u64,
    },
    /// A gradient that mathematics excludes: a bug.
    #[error(
        "{tensor} has a gradient at step {step}, though the factor beside it is zero: the backward pass is wrong"
    )]
    ImpossibleGradient {
        /// Which.
        tensor: String,
        /// Counted from 1.
        step: u64,
    },
    /// Even the leanest plan takes more memory than the run may.
    #[error(
        "the run needs {} bytes even if every layer is computed again (its largest batch has {tokens} tokens), and may take {budget}",
        needed.total()
    )]
    Memory {
        /// The peak of the leanest plan, part by part.
        needed: Box<lora_model::Peak>,
        /// Bytes that the run may take.
        budget: u64,
        /// Tokens of the largest micro-batch.
        tokens: usize,
    },
}

fn in_row(row: Option<usize>) -> String {
    row.map_or(String::new(), |row| {
        format!(" (first in row {} of train)", row + 1)
    })
}

/// For `map_err`: the operating system refused `action` on `path`.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}
