//! The open metrics.jsonl: one line a step and one an evaluation; the same lines go to stdout in JSON mode.
use crate::failure::failed;
use lora_cli::Foreign as _;
use lora_cli::Result;
use lora_records::{EvalMetric, Metric, StepMetric};
use lora_training::{Evaluated, StepDone};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The open file.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
    /// What it holds: a checkpoint has them, too, so that no damage to the file leaves a hole in a run that goes on.
    lines: Vec<u8>,
}

impl Metrics {
    /// Starts the file with the lines of a run that is continued, as its checkpoint has them.
    pub(crate) fn open(dir: &Path, lines: &[u8]) -> Result<Self> {
        let path = dir.join(Metric::FILE_NAME);
        let mut file = File::create(&path).map_err(failed("create", &path))?;
        file.write_all(lines).map_err(failed("write", &path))?;
        let lines = lines.to_vec();
        Ok(Self { path, file, lines })
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Appends a line; without its rate, so that the same run writes the same file.
    pub(crate) fn write(&mut self, metric: &Metric) -> Result<()> {
        let line = serde_json::to_string(&metric.for_file()).foreign()? + "\n";
        self.lines.extend_from_slice(line.as_bytes());
        self.file
            .write_all(line.as_bytes())
            .map_err(failed("write", &self.path))
    }
}

/// The line of a step.
pub(crate) fn of_step(done: &StepDone) -> Metric {
    Metric::Step(StepMetric {
        step: done.step,
        epoch: done.epoch,
        loss: done.loss,
        aux_loss: done.aux_loss,
        grad_norm: done.grad_norm,
        lr: done.lr,
        tokens: done.tokens,
        supervised_tokens: done.supervised_tokens,
        tokens_per_s: Some(done.tokens_per_s),
    })
}

/// The line of an evaluation.
pub(crate) fn of_evaluation(found: &Evaluated) -> Metric {
    Metric::Eval(EvalMetric {
        step: found.step,
        epoch: found.epoch,
        valid_loss: found.valid_loss,
        token_accuracy: Some(found.token_accuracy),
        supervised_tokens: found.supervised_tokens,
        best: found.best,
    })
}
