//! metrics.jsonl of lora-train: one line a step and one an evaluation; the same lines go to stdout in JSON mode.
use crate::Error;
use crate::lines::{self, End};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The tool that writes these files.
const WRITER: &str = "lora-train";

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Metric {
    /// A step of the optimiser.
    Step(StepMetric),
    /// A pass over the valid split.
    Eval(EvalMetric),
}

/// A step of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepMetric {
    /// Steps done, from 1.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss per supervised token of the step, nats.
    pub loss: f64,
    /// Of a mixture whose experts are to be balanced, the loss for that, before its coefficient: mean over the micro-batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aux_loss: Option<f64>,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate used.
    pub lr: f64,
    /// Tokens in the step.
    #[serde(default)]
    pub tokens: usize,
    /// Supervised tokens in the step.
    #[serde(default)]
    pub supervised_tokens: usize,
    /// Tokens a second: on stdout, and in files of version 0.1.0. Today's files leave it out, for it is of the machine:
    /// the same run writes the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_s: Option<f64>,
}

/// A pass over the valid split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EvalMetric {
    /// After which step.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss per supervised token, nats.
    pub valid_loss: f64,
    /// Share of supervised tokens that were the most probable; none in a run of another tool.
    #[serde(default)]
    pub token_accuracy: Option<f64>,
    /// Supervised tokens measured.
    #[serde(default)]
    pub supervised_tokens: usize,
    /// Better than every evaluation before.
    #[serde(default)]
    pub best: bool,
}

impl Metric {
    /// File name inside an adapter folder.
    pub const FILE_NAME: &str = "metrics.jsonl";

    /// The line as the file has it: without what a second run would not repeat.
    #[must_use]
    pub fn for_file(self) -> Self {
        match self {
            Self::Step(metric) => Self::Step(StepMetric {
                tokens_per_s: None,
                ..metric
            }),
            Self::Eval(metric) => Self::Eval(metric),
        }
    }

    /// The step that it belongs to.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(metric) => metric.step,
            Self::Eval(metric) => metric.step,
        }
    }
}

/// The lines of `FOLDER/metrics.jsonl`. Of a run that did not finish, the last line may be cut off.
///
/// # Errors
/// When there is no such file, and at a damaged line.
pub fn read_metrics(folder: &Path, finished: bool) -> Result<Vec<Metric>, Error> {
    let end = if finished { End::Whole } else { End::CutOff };
    lines::read(&folder.join(Metric::FILE_NAME), WRITER, end)
}

/// The lines of `FOLDER/metrics.jsonl` up to a step, as they stand there: what a run that is continued keeps. Empty
/// without the file; a last line that is cut off is left out.
///
/// # Errors
/// When the file can't be read, and at a damaged line.
pub fn metric_lines_until(folder: &Path, step: u64) -> Result<String, Error> {
    let path = folder.join(Metric::FILE_NAME);
    let metrics: Vec<(Metric, String)> = match lines::read_with_text(&path, WRITER, End::CutOff) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Vec::new()
        }
        read => read?,
    };
    let kept = metrics
        .into_iter()
        .filter(|(metric, _)| metric.step() <= step);
    Ok(kept.map(|(_, line)| line + "\n").collect())
}
