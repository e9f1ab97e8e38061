//! What a run computes: a shape, an adapter, and micro-batches of so many tokens.
use super::carried::Carried;
use crate::model::shape::Shape;
use lora_checkpoint::ModelConfig;
use lora_cli::Result;
use lora_data::{Example, Split};
use lora_model::{BatchSize, Packed, Plan};
use lora_training::{Batching, EpochTotals, RowSize, evaluation_batch};
use serde::Serialize;
use std::path::Path;

/// How the weights of the base are stored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BaseType {
    /// 32-bit float.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// 8-bit blocks of 32 with a scale: 8.5 bits a weight.
    #[value(name = "q8_0")]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 6-bit blocks of 256 with scales: 6.6 bits a weight.
    #[value(name = "q6_k")]
    #[serde(rename = "q6_k")]
    Q6K,
    /// 4-bit blocks of 256 with scales: 4.5 bits a weight.
    #[value(name = "q4_k")]
    #[serde(rename = "q4_k")]
    Q4K,
    /// 4-bit blocks of 32 with a scale: 4.5 bits a weight.
    #[value(name = "q4_0")]
    #[serde(rename = "q4_0")]
    Q4_0,
    /// As its file is: so many bytes.
    #[value(skip)]
    File(u64),
}

impl BaseType {
    /// As the model's own files store it; bf16, as models are published, without files.
    pub(crate) fn own(shape: &Shape) -> Self {
        shape
            .path
            .as_deref()
            .and_then(weight_bytes)
            .map_or(Self::Bf16, Self::File)
    }

    /// Bytes of so many weights.
    pub(crate) fn bytes(self, parameters: u64) -> u64 {
        match self {
            Self::F32 => 4 * parameters,
            Self::Bf16 | Self::F16 => 2 * parameters,
            Self::Q8_0 => parameters * 34 / 32,
            Self::Q6K => parameters * 210 / 256,
            Self::Q4K => parameters * 144 / 256,
            Self::Q4_0 => parameters * 18 / 32,
            Self::File(bytes) => bytes,
        }
    }

    /// Its name, or what the file's is.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6_k",
            Self::Q4K => "q4_k",
            Self::Q4_0 => "q4_0",
            Self::File(_) => "as it is",
        }
    }
}

/// What layers keep of their forward pass for their backward pass; lora-train's --memory chooses among these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Every layer its activations, as they are.
    All,
    /// Every layer its activations, rounded to bfloat16.
    Bf16,
    /// Every layer its input, from which the rest is computed again.
    Input,
}

impl Keep {
    /// As lora-model calls it.
    pub(crate) const fn plan(self) -> Plan {
        match self {
            Self::All => Plan::ALL,
            Self::Bf16 => Plan::keeping(0, usize::MAX),
            Self::Input => Plan::LEANEST,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Bf16 => "bf16",
            Self::Input => "input",
        }
    }
}

/// Threads to plan for.
pub(crate) fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(lora_cli::cores).max(1)
}

/// Bytes of the weight files at a path; none for a bare config.json.
fn weight_bytes(path: &Path) -> Option<u64> {
    let is_weights = |path: &Path| {
        path.extension()
            .is_some_and(|e| e == "safetensors" || e == "gguf")
    };
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let bytes = if path.is_dir() {
        let files = std::fs::read_dir(path)
            .ok()?
            .flatten()
            .map(|entry| entry.path());
        files
            .filter(|file| is_weights(file))
            .map(|file| size(&file))
            .sum()
    } else if is_weights(path) {
        size(path)
    } else {
        0
    };
    (bytes > 0).then_some(bytes)
}

/// The rows of an epoch, and those held out.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    train: SplitRows,
    valid: SplitRows,
}

/// The rows of a split.
#[derive(Debug, Clone, PartialEq)]
struct SplitRows {
    /// Of each.
    sizes: Vec<RowSize>,
    /// Their ids, if they are real: rows that begin alike share that part.
    ids: Option<Vec<Vec<u32>>>,
}

impl From<Vec<Example>> for SplitRows {
    fn from(rows: Vec<Example>) -> Self {
        Self {
            sizes: rows.iter().map(RowSize::of).collect(),
            ids: Some(rows.into_iter().map(|row| row.input_ids).collect()),
        }
    }
}

impl Rows {
    /// The train split of a dataset.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(data: &Path) -> Result<Self> {
        let rows = Split::read(data, "train")?.examples;
        let has_valid = data.is_dir() && data.join("valid.parquet").is_file();
        let valid = if has_valid {
            Split::read(data, "valid")?.examples
        } else {
            Vec::new()
        };
        Ok(Self {
            train: rows.into(),
            valid: valid.into(),
        })
    }

    /// Tokens of the longest.
    pub fn longest(&self) -> usize {
        let sizes = self.train.sizes.iter();
        sizes.map(|row| row.tokens).max().unwrap_or(0)
    }

    /// Rows that are all alike in length and begin differently, and a tenth as many held out.
    pub fn alike(rows: usize, length: usize, supervised: f64) -> Self {
        let most = length.saturating_sub(1).max(1);
        let one = RowSize {
            tokens: length,
            supervised: ((length as f64 * supervised) as usize).clamp(1, most),
        };
        let alike = |rows: usize| SplitRows {
            sizes: vec![one; rows.max(1)],
            ids: None,
        };
        Self {
            train: alike(rows),
            valid: alike(rows.div_ceil(10)),
        }
    }
}

impl SplitRows {
    /// A batch as a step computes it: what rows begin with in common once, if `share`.
    fn size(&self, config: &ModelConfig, batch: &[usize], share: bool) -> BatchSize {
        let Some(ids) = self.ids.as_ref().filter(|_| share) else {
            let lengths: Vec<usize> = batch.iter().map(|&row| self.sizes[row].tokens).collect();
            return BatchSize::alone(config, &lengths, self.supervised(batch));
        };
        let labels: Vec<Vec<i32>> = batch
            .iter()
            .map(|&row| vec![lora_data::IGNORE; ids[row].len()])
            .collect();
        let rows = batch
            .iter()
            .zip(&labels)
            .map(|(&row, labels)| (&ids[row][..], &labels[..]));
        BatchSize {
            supervised: self.supervised(batch),
            ..BatchSize::of(config, &Packed::from_rows(rows), share)
        }
    }

    fn supervised(&self, batch: &[usize]) -> usize {
        batch.iter().map(|&row| self.sizes[row].supervised).sum()
    }
}

/// What is trained on what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workload {
    /// Set of targets.
    pub targets: String,
    /// Rank r.
    pub rank: usize,
    /// Examples in a batch.
    pub batch: usize,
    /// Batches whose gradients are summed before a step.
    pub accumulation: usize,
    /// Storage of the base.
    pub base: BaseType,
    /// Dropout is on.
    pub dropout: bool,
    /// What layers keep.
    pub keep: Keep,
    /// Trainable parameters.
    pub trainable: u64,
    /// Rows of an epoch.
    pub rows: usize,
    /// Tokens of an epoch.
    pub tokens: usize,
    /// Supervised tokens of an epoch.
    pub supervised: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Micro-batches of an epoch.
    pub batches: usize,
    /// Tokens of the longest row.
    pub longest: usize,
    /// Most tokens in a micro-batch.
    pub most_tokens: usize,
    /// Most supervised tokens in a micro-batch.
    pub most_supervised: usize,
    /// The largest micro-batch where rows share their beginnings, and where each is computed alone.
    #[serde(skip)]
    pub largest: [BatchSize; 2],
    /// Threads that compute.
    #[serde(skip)]
    pub threads: usize,
    /// Tokens of an epoch that are computed without dropout (common beginnings once), and the most in a batch.
    pub computed: (usize, usize),
    /// Tokens of an epoch if rows are padded to the longest of their batch, and the most in a batch.
    pub padded: (usize, usize),
    /// Σ over rows of tokens²: the work of attention.
    #[serde(skip)]
    pub squares: f64,
    /// Something is held out, so the best parameters are kept too.
    #[serde(skip)]
    pub has_valid: bool,
    /// Tokens that are held out, and the supervised ones of them.
    pub valid: (usize, usize),
    /// Σ over held-out rows of tokens².
    #[serde(skip)]
    pub valid_squares: f64,
    /// The largest batch of an evaluation.
    #[serde(skip)]
    pub evaluation: BatchSize,
    /// The adapter.
    #[serde(skip)]
    pub carried: Carried,
}

impl Workload {
    /// The first epoch of a run with seed 0.
    pub fn new(
        shape: &Shape,
        carried: &Carried,
        targets: &str,
        rows: &Rows,
        batching: Batching,
        base: BaseType,
    ) -> Self {
        let (train, sizes, valid) = (&rows.train, &rows.train.sizes, &rows.valid.sizes);
        let lengths: Vec<usize> = sizes.iter().map(|row| row.tokens).collect();
        let windows = batching.windows(&lengths, 0, 0);
        let size = |batch: &[usize], share: bool| train.size(&shape.config, batch, share);
        let all = EpochTotals::of(&windows, sizes, |batch| size(batch, true));
        let alone = EpochTotals::of(&windows, sizes, |batch| size(batch, false));
        Self {
            targets: targets.to_owned(),
            rank: carried.config.r,
            batch: batching.examples.unwrap_or(sizes.len()),
            accumulation: batching.accumulation,
            base,
            dropout: false,
            keep: Keep::All,
            trainable: carried.layout.parameters() as u64,
            rows: sizes.len(),
            tokens: all.tokens.total,
            supervised: all.supervised.total,
            steps: all.steps,
            batches: all.batches,
            longest: rows.longest(),
            most_tokens: all.tokens.most,
            most_supervised: all.supervised.most,
            largest: [all.largest, alone.largest],
            threads: threads(None),
            computed: (all.computed.total, all.computed.most),
            padded: (all.padded.total, all.padded.most),
            squares: lengths.iter().map(|&length| (length * length) as f64).sum(),
            has_valid: !valid.is_empty(),
            valid: (
                valid.iter().map(|row| row.tokens).sum(),
                valid.iter().map(|row| row.supervised).sum(),
            ),
            valid_squares: valid
                .iter()
                .map(|row| (row.tokens * row.tokens) as f64)
                .sum(),
            evaluation: evaluation_batch(valid, |batch| {
                rows.valid.size(&shape.config, batch, true)
            }),
            carried: carried.clone(),
        }
    }

    /// The largest micro-batch.
    pub(crate) fn largest(&self) -> BatchSize {
        self.largest[usize::from(self.dropout)]
    }
}
