//! What is advised: the settings with their reasons, rules that disagree, and what it all takes.
use crate::cost::Card;
use crate::rules::Rule;
use lora_cli::{human_bytes, human_seconds};
use serde::Serialize;

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// What is set.
    pub what: String,
    /// To what.
    pub value: String,
    /// Why.
    pub reason: String,
    /// Where the rule or the figure comes from.
    pub source: String,
}

/// Two rules that disagree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conflict {
    /// What one says.
    pub one: String,
    /// What the other says.
    pub other: String,
    /// Which won, and why.
    pub won: String,
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Rank r.
    pub rank: usize,
    /// α.
    pub alpha: f64,
    /// Scale by α/√r.
    pub rslora: bool,
    /// Set of targets: attention, full-attention or all.
    pub targets: &'static str,
    /// Dropout.
    pub dropout: f64,
    /// Peak learning rate.
    pub lr: f64,
    /// Passes over the data.
    pub epochs: f64,
    /// Examples in a batch.
    pub batch: usize,
    /// Batches whose gradients make a step.
    pub accumulation: usize,
    /// The base is stored in 8-bit blocks first, by lora-export.
    pub quantise: bool,
    /// The GPU that it trains on.
    pub device: Option<Card>,
    /// Each setting with its reason.
    pub choices: Vec<Choice>,
    /// Where rules disagreed.
    pub conflicts: Vec<Conflict>,
    /// What it will take.
    pub cost: Cost,
}

/// What a plan takes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Cost {
    /// Predicted peak memory, bytes.
    pub memory: u64,
    /// Predicted seconds of training.
    pub seconds: f64,
    /// Trainable parameters.
    pub trainable: u64,
    /// It fits into the memory and time that were given.
    pub fits: bool,
}

impl Cost {
    pub(super) fn lines(&self) -> Vec<String> {
        let bytes = human_bytes(self.memory);
        let mut lines = vec![match self.seconds.is_finite() {
            true => format!(
                "It will take about {} and {bytes}.",
                human_seconds(self.seconds)
            ),
            false => format!("It will take about {bytes}."),
        }];
        if !self.fits {
            lines.push("That is more than the budget: nothing more can be given up. Fewer rows, a smaller base or a larger budget would do.".to_owned());
        }
        lines
    }
}

impl Plan {
    pub(super) fn choose(
        &mut self,
        what: &str,
        value: impl ToString,
        reason: impl Into<String>,
        source: &str,
    ) {
        let (reason, source) = (reason.into(), source.to_owned());
        self.choices.retain(|choice| choice.what != what);
        self.choices.push(Choice {
            what: what.to_owned(),
            value: value.to_string(),
            reason,
            source,
        });
    }

    pub(super) fn rule(&mut self, what: &str, value: impl ToString, rule: Rule) {
        self.choose(what, value, rule.says, rule.source);
    }

    pub(super) fn conflict(
        &mut self,
        one: impl Into<String>,
        other: impl Into<String>,
        won: impl Into<String>,
    ) {
        self.conflicts.push(Conflict {
            one: one.into(),
            other: other.into(),
            won: won.into(),
        });
    }
}
