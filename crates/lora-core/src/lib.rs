//! LoRA and only LoRA: config (= PEFT's), target matching, initialisation, scaling, adapter files, merge. Knows no architecture.
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a config, an adapter or a merge failed. Display is one line, with `\nhint: …` where a way out is known.
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
    /// A file that is not what it should be; names file, key or tensor.
    #[error("{path}: {message}")]
    Invalid {
        /// File.
        path: PathBuf,
        /// What is wrong, one line.
        message: String,
    },
    /// A config that can't be honoured on this model.
    #[error("{0}")]
    Config(String),
}

/// One linear layer of a model, as target matching sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearModule {
    /// Module path without prefix, e.g. `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// Columns of W.
    pub in_features: usize,
    /// Rows of W.
    pub out_features: usize,
    /// True for the output head, which `all-linear` leaves out.
    pub is_head: bool,
}

/// PEFT's `target_modules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// Equality or suffix after a dot.
    List(Vec<String>),
    /// Full match on the module path.
    Regex(String),
    /// Every linear but the output head.
    AllLinear,
}

/// PEFT's LoraConfig: the keys honoured here; the rest is carried in `extra`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank r.
    pub r: usize,
    /// α.
    pub lora_alpha: f64,
    /// Dropout on the adapter's input.
    pub lora_dropout: f64,
    /// Scaling α/√r in place of α/r.
    pub use_rslora: bool,
    /// Which modules carry an adapter.
    pub target_modules: TargetModules,
    /// `base_model_name_or_path`.
    pub base_model_name_or_path: Option<String>,
    /// Keys of a loaded adapter_config.json that are not honoured here and not active, carried as they are.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A module that carries an adapter, and where its A and B lie in the flat parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetedModule {
    /// Module path.
    pub path: String,
    /// Columns of W and of A.
    pub in_features: usize,
    /// Rows of W and of B.
    pub out_features: usize,
    /// Rows of A, columns of B.
    pub rank: usize,
    /// s = α/r or α/√r.
    pub scaling: f32,
    /// A, (rank, in) row-major, in the flat parameters.
    pub a: Range<usize>,
    /// B, (out, rank) row-major, in the flat parameters.
    pub b: Range<usize>,
}

/// An adapter: its config, its modules in model order, and all its values in one flat f32 vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Config.
    pub config: LoraConfig,
    /// Modules, in the order of the model's linear modules.
    pub modules: Vec<TargetedModule>,
    /// All A and B values; `modules` says where.
    pub params: Vec<f32>,
}

impl LoraConfig {
    /// Standard LoRA with PEFT's other defaults.
    pub fn new(_r: usize, _lora_alpha: f64, _target_modules: TargetModules) -> Self {
        todo!()
    }
    /// Reads adapter_config.json; active options that can't be honoured are errors, unknown keys are carried.
    pub fn load(_path: &Path) -> Result<Self, Error> {
        todo!()
    }
    /// s for a rank: α/r, or α/√r with rsLoRA.
    pub fn scaling(&self, _rank: usize) -> f32 {
        todo!()
    }
    /// The modules of a model that carry an adapter. An unmatched target is an error that lists the model's module names.
    pub fn target(&self, _modules: &[LinearModule]) -> Result<Vec<TargetedModule>, Error> {
        todo!()
    }
}

impl Adapter {
    /// A new adapter: A ~ U(−1/√in, 1/√in) from the counter RNG keyed by (seed, module path), B = 0.
    pub fn init(_config: LoraConfig, _modules: &[LinearModule], _seed: u64) -> Result<Self, Error> {
        todo!()
    }
    /// Loads a PEFT folder strictly: every key consumed, every target filled, every shape equal.
    /// Returns the adapter and warnings (unknown config keys carried).
    pub fn load(_dir: &Path, _modules: &[LinearModule]) -> Result<(Self, Vec<String>), Error> {
        todo!()
    }
    /// Writes adapter_config.json and adapter_model.safetensors into an existing folder, as PEFT does.
    pub fn save(&self, _dir: &Path) -> Result<(), Error> {
        todo!()
    }
    /// A and B of module `index`.
    pub fn factors(&self, _index: usize) -> (&[f32], &[f32]) {
        todo!()
    }
    /// The module at a path, if it carries an adapter.
    pub fn find(&self, _path: &str) -> Option<usize> {
        todo!()
    }
    /// Trainable parameters.
    pub fn trainable_parameters(&self) -> usize {
        self.params.len()
    }
}

/// PEFT's summary line, e.g. `trainable params: 3,407,872 || all params: 8,033,669,120 || trainable%: 0.0424`.
pub fn trainable_line(_trainable: u64, _base: u64) -> String {
    todo!()
}

/// Adds s·B·A to rows `first..` of W in f32 (the caller rounds once): `rows` holds whole rows of W, (n, in) row-major.
pub fn add_delta(_rows: &mut [f32], _first: usize, _a: &[f32], _b: &[f32], _rank: usize, _scaling: f32) {
    todo!()
}
