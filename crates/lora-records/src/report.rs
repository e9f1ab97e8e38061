//! report.json of lora-eval, version 1.
use crate::Error;
use crate::figures::{Difference, Figure, Guard, MetricChange, Slice};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What report.json holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Format version, see [`Report::VERSION`].
    pub version: u32,
    /// Base model.
    pub base: PathBuf,
    /// Dataset.
    pub data: PathBuf,
    /// Split of the dataset.
    pub split: String,
    /// Rows measured.
    pub rows: usize,
    /// Supervised tokens.
    pub tokens: usize,
    /// How answers were generated.
    pub generation: Generation,
    /// The base first, then the adapters in the order of the command line.
    pub models: Vec<ModelReport>,
    /// Every pair of adapters.
    pub comparisons: Vec<Comparison>,
    /// Each value of each column that was asked for.
    #[serde(default)]
    pub slices: Vec<Slice>,
    /// The guard, if there is one.
    #[serde(default)]
    pub guard: Option<Guard>,
    /// Differences between models that were tested, for which all p-values are corrected.
    #[serde(default)]
    pub tests: usize,
    /// The gates that were asked for.
    pub gates: Vec<GateResult>,
    /// True if every gate passed (also without gates).
    pub passed: bool,
}

/// How answers were generated, or why they were not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Rows answered; 0 if generation was off or not possible.
    pub rows: usize,
    /// Different prompts among them; each is answered once.
    pub prompts: usize,
    /// Longest answer, tokens.
    pub max_new_tokens: usize,
    /// Ids that end an answer.
    pub stop_ids: Vec<u32>,
    /// Why no row was answered.
    pub skipped: Option<String>,
    /// The pattern that takes the part of an answer that counts.
    #[serde(default)]
    pub regex: Option<String>,
    /// Where a row's further right answers come from.
    #[serde(default)]
    pub references: Option<String>,
}

/// One model's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// `base`, or the adapter's folder name.
    pub name: String,
    /// Adapter folder; none for the base.
    pub adapter: Option<PathBuf>,
    /// Rows measured that the adapter was trained on, by its receipt and the dataset it names; none if these don't tell.
    #[serde(default)]
    pub rows_trained_on: Option<usize>,
    /// Mean −log p of a supervised token, nats.
    pub nll: f64,
    /// exp(nll).
    pub perplexity: f64,
    /// Supervised tokens that were the argmax.
    pub token_accuracy: TokenAccuracy,
    /// Rows whose greedy answer is the completion, if rows were answered.
    pub exact_match: Option<ExactMatch>,
    /// Against the base; none for the base itself.
    pub difference_to_base: Option<Difference>,
    /// Every metric with its interval, those of the losses first.
    #[serde(default)]
    pub metrics: Vec<Figure>,
    /// What the prompts do: the loss with each row's prompt replaced by another row's − the loss. Measured where a gate
    /// asks whether a lower loss is more than the form of the answers.
    #[serde(default)]
    pub prompt_effect: Option<Difference>,
    /// The same − the base's.
    #[serde(default)]
    pub prompt_effect_to_base: Option<Difference>,
}

/// How often the next token was the most probable one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenAccuracy {
    /// Tokens predicted right.
    pub correct: usize,
    /// Supervised tokens.
    pub tokens: usize,
    /// correct ÷ tokens.
    pub rate: f64,
}

/// How often the greedy answer was the completion, text for text without its end-of-turn token and outer white space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExactMatch {
    /// Rows answered exactly.
    pub matched: usize,
    /// Rows answered.
    pub rows: usize,
    /// matched ÷ rows.
    pub rate: f64,
    /// Lower end of the 95 % interval of the share, rows of one prompt being one piece of evidence.
    #[serde(default)]
    pub low: Option<f64>,
    /// Upper end of it.
    #[serde(default)]
    pub high: Option<f64>,
    /// Different prompts answered.
    #[serde(default)]
    pub prompts: Option<usize>,
}

/// Two adapters measured on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Name of the first.
    pub first: String,
    /// Name of the second.
    pub second: String,
    /// Loss of the second − loss of the first. With several pairs the interval is so wide that all of them hold together
    /// with 95 % (Bonferroni).
    pub loss: Difference,
    /// Exact answers; none where none were generated.
    pub exact_match: Option<ExactDifference>,
    /// The better one, if it is so beyond noise and loss and exact match don't contradict each other.
    pub better: Option<String>,
    /// The same for people, one line.
    pub verdict: String,
    /// Every metric's difference.
    #[serde(default)]
    pub metrics: Vec<MetricChange>,
}

/// Exact answers of two models, by prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExactDifference {
    /// Prompts that the first answers exactly more often.
    pub first_only: usize,
    /// Prompts that the second answers exactly more often.
    pub second_only: usize,
    /// Prompts answered.
    pub prompts: usize,
    /// Two-sided exact sign test on the prompts where they differ (McNemar's test with one row a prompt), times the
    /// number of pairs that are compared.
    pub p_value: f64,
}

/// What a gate said of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// The flag, e.g. `must-beat-base`.
    pub gate: String,
    /// The model judged.
    pub model: String,
    /// Its verdict.
    pub passed: bool,
    /// The figures behind it, one line.
    pub reason: String,
}

impl ModelReport {
    /// The metric of that name.
    pub fn figure(&self, metric: &str) -> Option<&Figure> {
        self.metrics.iter().find(|figure| figure.metric == metric)
    }
}

impl Report {
    /// The format version that is written and read.
    pub const VERSION: u32 = 1;
    /// The JSON Schema (2020-12) of what is written.
    pub const SCHEMA: &str = include_str!("../report.schema.json");
    /// File name inside a report folder.
    pub const FILE_NAME: &str = "report.json";

    /// Reads `FOLDER/report.json`; refuses another version.
    ///
    /// # Errors
    /// When there is no such file, when it is of another version, or when it is damaged.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(Self::FILE_NAME);
        let bytes = std::fs::read(&path).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let broken = |reason: String| Error::File {
            path: path.clone(),
            reason,
            writer: "lora-eval",
        };
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        match version {
            Some(version) if version == u64::from(Self::VERSION) => {}
            Some(version) => {
                return Err(broken(format!(
                    "a report of version {version}, and this tool reads version {}",
                    Self::VERSION
                )));
            }
            None => return Err(broken("not a report: it has no version".to_owned())),
        }
        serde_json::from_value(value).map_err(|error| broken(error.to_string()))
    }

    /// The model of that name.
    pub fn model(&self, name: &str) -> Option<&ModelReport> {
        self.models.iter().find(|model| model.name == name)
    }

    /// The base's figures.
    pub fn base_model(&self) -> Option<&ModelReport> {
        self.models.iter().find(|model| model.adapter.is_none())
    }
}
