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
    /// Tokens that were added to the model's tokenizer; the dataset carries the larger one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added_tokens: Vec<String>,
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

/// Counts the rows of a split one by one; what it holds does not grow with them.
#[derive(Debug, Default)]
pub struct SplitCounts {
    prompts: usize,
    length: Counts,
    supervised: Counts,
}

impl SplitCounts {
    /// One more row, and whether its prompt is a new one.
    pub fn add(&mut self, row: &Example, is_new_prompt: bool) {
        self.prompts += usize::from(is_new_prompt);
        self.length.add(row.len() as u32);
        self.supervised.add(row.supervised() as u32);
    }

    /// The rows in numbers.
    pub fn finish(&self) -> SplitSummary {
        SplitSummary {
            rows: self.length.values,
            prompts: self.prompts,
            tokens: self.length.sum() as usize,
            supervised_tokens: self.supervised.sum() as usize,
            length: self.length.distribution(),
            supervised: self.supervised.distribution(),
        }
    }
}

impl SplitSummary {
    /// Counts the rows of a split.
    pub fn of(examples: &[Example]) -> Self {
        let mut prompts = HashSet::new();
        let mut counts = SplitCounts::default();
        for row in examples {
            counts.add(row, prompts.insert(row.group.as_str()));
        }
        counts.finish()
    }
}

/// How often each value of a figure was there.
#[derive(Debug, Default)]
struct Counts {
    of: BTreeMap<u32, usize>,
    values: usize,
}

impl Counts {
    fn add(&mut self, value: u32) {
        *self.of.entry(value).or_default() += 1;
        self.values += 1;
    }

    fn sum(&self) -> u64 {
        let parts = self.of.iter();
        parts
            .map(|(value, count)| u64::from(*value) * *count as u64)
            .sum()
    }

    fn distribution(&self) -> Distribution {
        let last = self.values.saturating_sub(1);
        let quantile = |share: f64| {
            let mut rest = (share * last as f64).round() as usize;
            let at_rank = self.of.iter().find(|(_, count)| {
                let is_there = rest < **count;
                rest = rest.saturating_sub(**count);
                is_there
            });
            at_rank.map_or(0, |(value, _)| *value)
        };
        let mean = self.sum() as f64 / self.values.max(1) as f64;
        Distribution {
            min: quantile(0.0),
            mean: (mean * 1000.0).round() / 1000.0,
            p50: quantile(0.5),
            p90: quantile(0.9),
            max: quantile(1.0),
        }
    }
}

impl Distribution {
    /// Of one figure a row; all zero without rows. A quantile is the value at the nearest rank.
    pub fn of(values: Vec<u32>) -> Self {
        let mut counts = Counts::default();
        values.into_iter().for_each(|value| counts.add(value));
        counts.distribution()
    }
}
