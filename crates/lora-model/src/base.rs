//! A base model, checked against its spec.
use crate::{Error, spec};
use lora_checkpoint::{Checkpoint, ModelConfig};
use lora_core::LinearModule;
use std::path::Path;

/// A base model: its checkpoint, mmapped, with every weight that its family needs present and of the right shape.
#[derive(Debug)]
pub struct Base {
    checkpoint: Checkpoint,
}

impl Base {
    /// Opens a model; the checkpoint checks that it has every weight.
    ///
    /// # Errors
    /// If the files are not readable, or a weight is missing or of another shape (both are named).
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { checkpoint: Checkpoint::open(path)? })
    }

    /// The files below.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Shape of the decoder.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        self.checkpoint.config()
    }

    /// All linear modules in model order (q, k, v, o, gate, up, down a layer; then lm_head).
    #[must_use]
    pub fn linear_modules(&self) -> Vec<LinearModule> {
        spec::linear_modules(self.config())
    }

    /// All parameters, a tied head counted once.
    #[must_use]
    pub fn total_parameters(&self) -> u64 {
        self.config().weights().iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    }
}
