//! What a run tells while it goes: values for the caller to show, to keep, or to pass over.
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Who follows a run. A closure that takes events is one that never stops it.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event);

    /// Asked before every micro-batch and every batch of an evaluation: true ends the run with
    /// [`Error::Interrupted`](crate::Error::Interrupted), after a checkpoint.
    fn stop(&self) -> bool {
        false
    }

    /// Asked with every checkpoint: what is kept in it for the caller, who gets it back with [`crate::Resumed`].
    fn keep(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl<F: FnMut(&Event)> Observer for F {
    fn event(&mut self, event: &Event) {
        self(event);
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The run begins, or goes on from a checkpoint.
    Started(Started),
    /// Something that the user should know before it is too late.
    Warning(Warning),
    /// A step of the optimiser.
    StepDone(StepDone),
    /// Held-out rows are being measured.
    Evaluating {
        /// Rows done.
        done: usize,
        /// All of them.
        rows: usize,
    },
    /// A pass over the held-out rows.
    Evaluated(Evaluated),
    /// The loss has not improved for as long as the run is patient.
    StoppedEarly {
        /// Evaluations in a row that were not better.
        evaluations: usize,
    },
    /// A checkpoint is complete on the disk.
    CheckpointWritten {
        /// Steps done.
        step: u64,
        /// Its state file.
        path: PathBuf,
    },
}

/// What is about to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Steps that a checkpoint has brought.
    pub done_steps: u64,
    /// Rows that train.
    pub train_rows: usize,
    /// Rows that are held out.
    pub valid_rows: Option<usize>,
}

/// What a user may not have meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A share of one step is no warm-up.
    #[error("the run has one step, and no warm-up: with one its learning rate would be 0")]
    NoWarmup,
    /// A rank that no product of its factors can have.
    #[error(
        "rank {rank} is above the smaller side of {module} ({side}{}): ranks above it cost memory and time, and can learn nothing more",
        others(*modules)
    )]
    RankAboveSide {
        /// The rank.
        rank: usize,
        /// One of the modules.
        module: String,
        /// Its smaller side.
        side: usize,
        /// How many modules there are.
        modules: usize,
    },
    /// The run ends before its warm-up.
    #[error(
        "the warm-up takes {warmup_steps} steps of {total_steps}: the learning rate never reaches its peak"
    )]
    EndsInWarmup {
        /// Steps of warm-up.
        warmup_steps: u64,
        /// Steps of the run.
        total_steps: u64,
    },
}

/// Figures of a step, as a line of metrics.jsonl has them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepDone {
    /// Steps done, from 1.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss per supervised token of the step.
    pub loss: f64,
    /// Mean over the micro-batches of the loss for the balance of experts, before its coefficient; none where it doesn't count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aux_loss: Option<f64>,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate used.
    pub lr: f64,
    /// Tokens in the step.
    pub tokens: usize,
    /// Supervised tokens in the step.
    pub supervised_tokens: usize,
    /// Tokens a second; of the machine, not of the run's result.
    pub tokens_per_s: f64,
}

/// Figures of a pass over the held-out rows, as a line of metrics.jsonl has them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// After which step.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss per supervised token.
    pub valid_loss: f64,
    /// Share of supervised tokens that were the most probable.
    pub token_accuracy: f64,
    /// Supervised tokens measured.
    pub supervised_tokens: usize,
    /// Better than every evaluation before.
    pub best: bool,
}

fn others(modules: usize) -> String {
    match modules {
        0 | 1 => String::new(),
        2 => ", and of 1 more module".to_owned(),
        n => format!(", and of {} more modules", n - 1),
    }
}
