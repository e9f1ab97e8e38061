//! Records, chat templates, masks, dataset files and batches: from a JSONL row to the ids that a trainer reads.
use std::path::{Path, PathBuf};

/// The label of a position that is not supervised (the Hugging Face convention).
pub const IGNORE: i32 = -100;

/// Why data could not be used. Display is one line, with `\nhint: …` where a way out is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file that is not what it should be; names file, line or column.
    #[error("{path}: {message}")]
    Invalid {
        /// File.
        path: PathBuf,
        /// What is wrong, one line.
        message: String,
    },
}

/// One row of a dataset (parquet schema version 1).
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Ids of the whole text.
    pub input_ids: Vec<u32>,
    /// Same length; [`IGNORE`] or the id itself. Position t is predicted from position t−1.
    pub labels: Vec<i32>,
    /// First 16 hex digits of the sha256 of the source record.
    pub id: String,
    /// sha256 of the rendered prompt: the unit of splitting.
    pub group: String,
    /// Rendered prompt, with the generation prompt.
    pub prompt: String,
    /// Rendered completion, with its end-of-turn token.
    pub completion: String,
}

/// One split of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Rows in file order.
    pub examples: Vec<Example>,
    /// `lora.tokenizer_sha256`, absent in a plain parquet.
    pub tokenizer_sha256: Option<String>,
    /// `lora.template_sha256`, absent in a plain parquet.
    pub template_sha256: Option<String>,
}

impl Split {
    /// Reads `DIR/NAME.parquet`, or a parquet file itself; a plain parquet with only `input_ids` and `labels` is
    /// accepted (prompt and completion are then empty).
    pub fn read(_path: &Path, _name: &str) -> Result<Self, Error> {
        todo!()
    }
    /// Writes one parquet file with the schema's key-value metadata.
    pub fn write(&self, _file: &Path) -> Result<(), Error> {
        todo!()
    }
    /// Refuses a dataset made with another tokenizer than the base's; `base` is the base's fingerprint.
    pub fn check_tokenizer(&self, _base: &str, _path: &Path) -> Result<(), Error> {
        todo!()
    }
}

/// The order of the rows in one epoch: a permutation from the counter RNG keyed by (seed, epoch).
pub fn epoch_order(_rows: usize, _seed: u64, _epoch: u64) -> Vec<usize> {
    todo!()
}
