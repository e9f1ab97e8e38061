//! `dataset.json`: what a dataset holds, in numbers.
use crate::{Error, Example};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// What a dataset folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format version, see [`Manifest::VERSION`].
    pub version: u32,
    /// Raw rows that were read.
    pub rows_read: usize,
    /// Rows that could not be used, by reason.
    pub refused: BTreeMap<String, usize>,
    /// Keys of rows that say something and are not read, by how many rows have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unused_keys: BTreeMap<String, usize>,
    /// What was done to rows that are kept, by how many rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, usize>,
    /// What became of the rows of each source, if there are several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, SourceCount>,
    /// The splits, train first.
    pub splits: Splits,
    /// Fingerprint of the tokenizer.
    pub tokenizer_sha256: String,
    /// sha256 of the chat template's source, if one was used.
    pub template_sha256: Option<String>,
    /// The system text of the rows: what was put before those that brought none, or what all of them brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

/// Rows of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceCount {
    /// Raw rows that were read.
    pub read: usize,
    /// Rows that were not refused.
    pub usable: usize,
    /// Rows in the dataset: those drawn.
    pub rows: usize,
}

/// The splits of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// `train.parquet`.
    pub train: SplitSummary,
    /// `valid.parquet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<SplitSummary>,
    /// `test.parquet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<SplitSummary>,
}

impl Splits {
    /// Name and summary of each split that is there.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &SplitSummary)> {
        let all = [
            ("train", Some(&self.train)),
            ("valid", self.valid.as_ref()),
            ("test", self.test.as_ref()),
        ];
        all.into_iter()
            .filter_map(|(name, summary)| Some((name, summary?)))
    }
}

/// One split in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSummary {
    /// Rows.
    pub rows: usize,
    /// Different prompts.
    pub prompts: usize,
    /// Tokens of all rows.
    pub tokens: usize,
    /// Tokens that enter the loss.
    pub supervised_tokens: usize,
    /// Tokens a row.
    pub length: Distribution,
    /// Supervised tokens a row.
    pub supervised: Distribution,
}

/// How a figure is spread over the rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Smallest.
    pub min: u32,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u32,
    /// Nine of ten rows have at most this.
    pub p90: u32,
    /// Largest.
    pub max: u32,
}

impl Manifest {
    /// The format version that is written and read.
    pub const VERSION: u32 = 1;
    /// File name inside a dataset folder.
    pub const FILE_NAME: &str = "dataset.json";

    /// Writes `DIR/dataset.json`.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let file = folder.join(Self::FILE_NAME);
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::invalid(&file, error.to_string()))?;
        text.push('\n');
        std::fs::write(&file, text).map_err(Error::io("write", &file))
    }

    /// Reads `DIR/dataset.json`; refuses another version and unknown keys.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let file = folder.join(Self::FILE_NAME);
        let text = std::fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        let broken =
            |error: serde_json::Error| Error::invalid(&file, crate::one_line(&error.to_string()));
        let value: serde_json::Value = serde_json::from_str(&text).map_err(broken)?;
        if value.get("version").and_then(serde_json::Value::as_u64)
            != Some(u64::from(Self::VERSION))
        {
            let found = value.get("version").unwrap_or(&serde_json::Value::Null);
            return Err(Error::invalid(
                &file,
                format!("version is {found}, but only {} is known", Self::VERSION),
            )
            .hint("prepare the dataset again with this lora-prep"));
        }
        serde_json::from_value(value).map_err(broken)
    }
}

impl SplitSummary {
    /// Counts the rows of a split.
    pub fn of(examples: &[Example]) -> Self {
        let lengths: Vec<u32> = examples.iter().map(|row| row.len() as u32).collect();
        let supervised: Vec<u32> = examples.iter().map(|row| row.supervised() as u32).collect();
        let sum = |values: &[u32]| values.iter().map(|value| *value as usize).sum();
        Self {
            rows: examples.len(),
            prompts: examples
                .iter()
                .map(|row| row.group.as_str())
                .collect::<HashSet<_>>()
                .len(),
            tokens: sum(&lengths),
            supervised_tokens: sum(&supervised),
            length: Distribution::of(lengths),
            supervised: Distribution::of(supervised),
        }
    }
}

impl Distribution {
    /// Of one figure a row; all zero without rows. A quantile is the value at the nearest rank.
    pub fn of(mut values: Vec<u32>) -> Self {
        values.sort_unstable();
        let Some(last) = values.len().checked_sub(1) else {
            return Self {
                min: 0,
                mean: 0.0,
                p50: 0,
                p90: 0,
                max: 0,
            };
        };
        let sum: u64 = values.iter().copied().map(u64::from).sum();
        let mean = sum as f64 / values.len() as f64;
        let quantile = |share: f64| values[(share * last as f64).round() as usize];
        Self {
            min: values[0],
            mean: (mean * 1000.0).round() / 1000.0,
            p50: quantile(0.5),
            p90: quantile(0.9),
            max: values[last],
        }
    }
}
