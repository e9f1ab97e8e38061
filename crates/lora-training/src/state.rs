//! How far a run is: its figures, without parameters and moments.
use serde::{Deserialize, Serialize};

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After which step.
    pub step: u64,
    /// Mean loss on the valid split.
    #[serde(with = "exact")]
    pub loss: f64,
}

/// How far a run is, without its vectors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Tokens seen.
    pub tokens: u64,
    /// Tokens computed: fewer where examples of a batch begin alike.
    pub computed_tokens: u64,
    /// Supervised tokens seen.
    pub supervised_tokens: u64,
    /// Loss of the first step.
    #[serde(with = "exact")]
    pub first_loss: f64,
    /// Loss of the last step.
    #[serde(with = "exact")]
    pub last_loss: f64,
    /// Best evaluation.
    pub best: Option<Best>,
    /// After which step the last evaluation was.
    pub evaluated: u64,
    /// Its loss.
    pub valid_loss: Option<f64>,
    /// Evaluations in a row that were not better.
    pub worse: usize,
    /// Early stopping ended the run.
    pub stopped_early: bool,
    /// Seconds spent in steps.
    pub step_seconds: f64,
}

/// A float as its bits: decimal text may come back one unit off.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(x.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}
