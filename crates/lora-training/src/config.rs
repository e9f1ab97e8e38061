//! What a run is: plain settings, without a command line.
use crate::batches::{Batching, Length, Steps};
use crate::error::{Error, Result};
use crate::schedule::{Decay, Schedule};
use serde::{Deserialize, Serialize};

/// Evaluations of a run, at least, unless it says how often.
pub const LEAST_EVALUATIONS: u64 = 4;

/// Settings of a run, whatever trains. The defaults are lora-train's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrainConfig {
    /// When the run ends.
    pub length: Length,
    /// How rows make batches, and batches steps.
    pub batching: Batching,
    /// Learning rate at its peak.
    pub lr: f64,
    /// Shape of the learning rate after the warm-up.
    pub schedule: Decay,
    /// Warm-up from rate 0: a share of the run if below 1, else a number of steps.
    pub warmup: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradients, which are scaled down to it; 0 turns clipping off.
    pub clip: f64,
    /// Coefficient of the loss for the balance of a mixture's experts, which each micro-batch has for all of its tokens; a step
    /// has their mean (as TRL's trainers do). 0: it does not count.
    pub router_aux_loss_coef: f64,
    /// Seed of the order of rows.
    pub seed: u64,
    /// Measure the held-out rows and write a checkpoint every so many steps; none: every epoch, and at least four times.
    pub eval_every: Option<u64>,
    /// Stop after so many evaluations in a row without a better loss.
    pub patience: Option<usize>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            length: Length::Epochs(3.0),
            batching: Batching::default(),
            lr: 2e-4,
            schedule: Decay::Linear,
            warmup: 0.03,
            weight_decay: 0.0,
            clip: 1.0,
            router_aux_loss_coef: 0.0,
            seed: 0,
            eval_every: None,
            patience: None,
        }
    }
}

/// The steps of a run, their learning rates, and after how many steps it evaluates.
#[derive(Debug)]
pub struct RunPlan {
    /// Which rows make up which step.
    pub steps: Steps,
    /// The learning rate of every step.
    pub schedule: Schedule,
    /// Steps between evaluations.
    pub eval_every: u64,
}

impl TrainConfig {
    /// Refuses settings that no run can have.
    ///
    /// # Errors
    /// Names the first of them.
    pub fn validate(&self) -> Result<()> {
        let refuse = |name, found: String, expected| {
            Err(Error::Setting {
                name,
                found,
                expected,
            })
        };
        let is_size = |x: f64| x.is_finite() && x >= 0.0;
        // As the optimiser sees it: a rate that vanishes in f32 changes nothing.
        if !(self.lr.is_finite() && self.lr as f32 > 0.0) {
            return refuse(
                "lr",
                self.lr.to_string(),
                "a number above 0 (1e-45 or more)",
            );
        }
        if !is_size(self.warmup) {
            return refuse("warmup", self.warmup.to_string(), "a number, 0 or more");
        }
        if !is_size(self.weight_decay) {
            return refuse(
                "weight-decay",
                self.weight_decay.to_string(),
                "a number, 0 or more",
            );
        }
        if !is_size(self.clip) {
            return refuse("clip", self.clip.to_string(), "a number, 0 or more");
        }
        if !is_size(self.router_aux_loss_coef) {
            return refuse(
                "router-aux-loss-coef",
                self.router_aux_loss_coef.to_string(),
                "a number, 0 or more",
            );
        }
        if self.eval_every == Some(0) {
            return refuse("eval-every", "0".to_owned(), "1 or more");
        }
        match self.length {
            Length::Steps(0) => return refuse("length", "0 steps".to_owned(), "1 or more"),
            Length::Epochs(epochs) if !(epochs.is_finite() && epochs > 0.0) => {
                return refuse("length", format!("{epochs} epochs"), "a number above 0");
            }
            _ => {}
        }
        self.batching.validate()
    }

    /// What the loss for the balance of experts is multiplied by in each of so many micro-batches of a step, if it counts.
    pub(crate) fn balance(&self, batches: usize) -> Option<f32> {
        let counts = self.router_aux_loss_coef > 0.0;
        counts.then(|| (self.router_aux_loss_coef / batches.max(1) as f64) as f32)
    }

    /// The plan of a run over rows of these lengths (tokens).
    ///
    /// # Errors
    /// If a setting is not sound, if there are no rows, or if no step would change anything.
    pub fn plan(&self, lengths: Vec<usize>) -> Result<RunPlan> {
        self.validate()?;
        if lengths.is_empty() {
            return Err(Error::NoRows);
        }
        let steps = Steps::new(lengths, self.batching, self.seed);
        let schedule = Schedule::new(
            self.schedule,
            self.lr,
            self.warmup,
            steps.total(self.length),
        );
        if schedule.never_leaves_zero() {
            let warmup_steps = schedule.warmup_steps;
            return Err(Error::LearnsNothing { warmup_steps });
        }
        let of_an_epoch = steps.of_epoch(0).len() as u64;
        let eval_every = self
            .eval_every
            .unwrap_or_else(|| of_an_epoch.min(schedule.total_steps.div_ceil(LEAST_EVALUATIONS)));
        Ok(RunPlan {
            steps,
            schedule,
            eval_every,
        })
    }
}
