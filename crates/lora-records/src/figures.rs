//! Figures of a report: a metric's value with its interval, and how it differs between two models.
use serde::{Deserialize, Serialize};

/// One metric of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name, as in `--metrics` and gates.
    pub metric: String,
    /// Over all rows that it has something to say of.
    pub value: f64,
    /// Lower end of the 95 % interval, the rows of one prompt being one piece of evidence.
    pub low: Option<f64>,
    /// Upper end of it.
    pub high: Option<f64>,
    /// Rows that it has something to say of.
    pub rows: usize,
    /// Different prompts among them.
    pub prompts: usize,
    /// False where less is better, as of a loss.
    pub higher_is_better: bool,
    /// The same answers against what other prompts expect; none where nothing is expected, or the same everywhere.
    pub chance: Option<Chance>,
    /// Against the base; none for the base itself and for a metric that is a function of another one.
    pub against_base: Option<Change>,
}

/// What a model's answers score against what other prompts expect: what is reached without an answer to the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    /// The metric's value.
    pub value: f64,
    /// How likely a difference like that to the model's own value is, if its answers had nothing to do with the prompts.
    pub p_value: f64,
}

/// A metric's difference between two models on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Second − first (model − base).
    pub value: f64,
    /// Lower end of the 95 % interval of this one difference.
    pub low: Option<f64>,
    /// Upper end of it.
    pub high: Option<f64>,
    /// Two-sided: a t-test of the loss, the exact sign test over prompts of a share, paired randomisation over prompts of
    /// anything else. Corrected for all comparisons of the report (Holm 1979).
    pub p_value: f64,
    /// What follows from it at 5 %.
    pub verdict: Verdict,
}

/// A metric's difference between two adapters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricChange {
    /// The metric's name.
    pub metric: String,
    /// Second − first.
    #[serde(flatten)]
    pub change: Change,
}

/// Whether the second of two is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The second is better, beyond noise.
    #[serde(rename = "better")]
    Better,
    /// The second is worse, beyond noise.
    #[serde(rename = "worse")]
    Worse,
    /// The difference may be noise.
    #[serde(rename = "can't tell")]
    CantTell,
}

impl Verdict {
    /// The same for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::CantTell => "can't tell",
        }
    }
}

/// The rows with one value in a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// The column.
    pub column: String,
    /// Its value.
    pub value: String,
    /// Rows with it.
    pub rows: usize,
    /// Different prompts among them.
    pub prompts: usize,
    /// Each model's figures, the base first.
    pub models: Vec<SliceModel>,
}

/// One model's figures on a slice. Nothing is tested there: the intervals are for looking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceModel {
    /// The model's name.
    pub name: String,
    /// Its figures.
    pub metrics: Vec<Figure>,
}

/// Paired difference of the mean loss per token, adapter − base: below zero is better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Difference of the means, nats a token.
    pub nll: f64,
    /// Its standard error over prompts; none with fewer than two prompts.
    pub standard_error: Option<f64>,
    /// Lower end of the 95 % interval (Student's t).
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// Different prompts, the unit of the error.
    pub prompts: usize,
}

/// A second dataset on which adapters must not get worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// The dataset, or `default` for the project's own rows.
    pub data: String,
    /// Rows measured.
    pub rows: usize,
    /// How far an adapter's loss may be above the base's, nats a token.
    pub max_drop: f64,
    /// Each model's loss, the base first.
    pub models: Vec<GuardModel>,
}

/// One model on a guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardModel {
    /// The model's name.
    pub name: String,
    /// Mean −log p of a supervised token, nats.
    pub nll: f64,
    /// Against the base; none for the base itself.
    pub difference_to_base: Option<Difference>,
}
