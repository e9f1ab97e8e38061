//! What was made from what: content hashes, receipts and staged outputs. No ML lives here.
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The receipt format that this version writes and reads.
pub const VERSION: u32 = 1;
/// File name of the receipt inside an output folder.
pub const FILE_NAME: &str = "receipt.json";

/// Why a receipt, a hash or a staged output failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Anything else, as one line (and a `\nhint: …` where a way out is known).
    #[error("{0}")]
    Invalid(String),
}

/// What kind of thing an output is; decides which `-` inputs accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Artefact {
    /// Folder of parquet splits and dataset.json.
    Dataset,
    /// PEFT adapter folder.
    Adapter,
    /// report.json and predictions.jsonl.
    Report,
    /// Hugging Face model folder.
    Model,
    /// A GGUF file (model or adapter).
    Gguf,
    /// A plan of lora-plan.
    Plan,
}

/// One input and the hash of its content when it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The flag that named it, e.g. `base`.
    pub name: String,
    /// Path as the user gave it.
    pub path: PathBuf,
    /// sha256 of the file, or of the tree.
    pub sha256: String,
}

/// One output file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Path relative to the output folder.
    pub path: PathBuf,
    /// sha256 of its bytes.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// The record beside every finished output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Format version, see [`VERSION`].
    pub version: u32,
    /// Tool that made it, e.g. `lora-train`.
    pub tool: String,
    /// That tool's version.
    pub tool_version: String,
    /// Kind of output.
    pub artefact: Artefact,
    /// Where the output is.
    pub out: PathBuf,
    /// The resolved configuration: every flag with its value.
    pub config: serde_json::Value,
    /// Seed, where the tool has one.
    pub seed: Option<u64>,
    /// What it was made from.
    pub inputs: Vec<Input>,
    /// What was made.
    pub outputs: Vec<Output>,
    /// A few result figures, e.g. `{"valid_nll": 1.23}`.
    pub results: serde_json::Value,
    /// Wall time in seconds.
    pub wall_seconds: f64,
    /// Peak resident memory in bytes.
    pub peak_rss_bytes: u64,
    /// Facts about the machine (os, arch, cpus).
    pub host: serde_json::Value,
}

impl Receipt {
    /// Reads `OUT/receipt.json` (or `FILE.receipt.json` beside a single-file output). Refuses another version.
    pub fn load(_out: &Path) -> Result<Self, Error> {
        todo!()
    }
}

/// sha256 of a file's bytes, or of a folder's tree (sorted relative paths and contents; receipts are left out), hex.
pub fn hash_path(_path: &Path) -> Result<String, Error> {
    todo!()
}

/// Peak resident memory of this process in bytes (Linux: VmHWM), 0 where unknown.
pub fn peak_rss_bytes() -> u64 {
    todo!()
}

/// An output being written: `OUT.partial/` (or `OUT.partial` for a single file), renamed to `OUT` by [`Staged::commit`].
/// Dropping it uncommitted removes the partial output, unless [`Staged::keep_partial`] was called.
#[derive(Debug)]
pub struct Staged {}

impl Staged {
    /// Stages an output folder. Refuses an existing `out` without `force`; checks that the parent is writable.
    pub fn folder(_out: &Path, _force: bool) -> Result<Self, Error> {
        todo!()
    }
    /// Stages an output folder, keeping what an earlier, killed run left in `OUT.partial/` (for resuming).
    pub fn resume_folder(_out: &Path, _force: bool) -> Result<Self, Error> {
        todo!()
    }
    /// Stages a single output file; its receipt will lie beside it as `FILE.receipt.json`.
    pub fn file(_out: &Path, _force: bool) -> Result<Self, Error> {
        todo!()
    }
    /// Where to write now.
    pub fn path(&self) -> &Path {
        todo!()
    }
    /// Leave the partial output in place if this is dropped uncommitted (checkpoints of an interrupted run).
    pub fn keep_partial(&mut self) {
        todo!()
    }
    /// Hashes the outputs, completes and writes the receipt, fsyncs, renames. Returns the finished receipt.
    pub fn commit(self, _draft: Draft) -> Result<Receipt, Error> {
        todo!()
    }
}

/// What a tool knows of its receipt before the outputs are hashed.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Tool name.
    pub tool: String,
    /// Tool version.
    pub tool_version: String,
    /// Kind of output.
    pub artefact: Artefact,
    /// Resolved configuration.
    pub config: serde_json::Value,
    /// Seed.
    pub seed: Option<u64>,
    /// Inputs with their hashes.
    pub inputs: Vec<Input>,
    /// Result figures.
    pub results: serde_json::Value,
    /// When the work began.
    pub started: std::time::Instant,
}
