//! Decoders whose projections carry LoRA: one [`DecoderSpec`] a family, the fused route, the composite route, generation.
use lora_checkpoint::Checkpoint;
use lora_core::{Adapter, LinearModule};
use std::path::Path;

/// Why a model could not be built or run. Display is one line, with `\nhint: …` where a way out is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoint is not readable.
    #[error(transparent)]
    Checkpoint(#[from] lora_checkpoint::Error),
    /// The adapter does not fit.
    #[error(transparent)]
    Adapter(#[from] lora_core::Error),
    /// candle refused (composite route).
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// Anything else.
    #[error("{0}")]
    Invalid(String),
}

/// A base model: its checkpoint, mmapped, with every weight that its family needs present and of the right shape.
#[derive(Debug)]
pub struct Base {}

impl Base {
    /// Opens and checks a model.
    pub fn open(_path: &Path) -> Result<Self, Error> {
        todo!()
    }
    /// The files below.
    pub fn checkpoint(&self) -> &Checkpoint {
        todo!()
    }
    /// All linear modules in model order (q, k, v, o, gate, up, down a layer; then lm_head).
    pub fn linear_modules(&self) -> Vec<LinearModule> {
        todo!()
    }
    /// All parameters, a tied head counted once.
    pub fn total_parameters(&self) -> u64 {
        todo!()
    }
}

/// Several sequences laid end to end, without padding; attention never crosses a boundary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packed {
    /// Ids of all sequences, T values.
    pub input_ids: Vec<u32>,
    /// T values; −100 = not supervised. Position t of a sequence predicts its label t+1 (the shift happens in the loss).
    pub labels: Vec<i32>,
    /// Cumulative lengths: sequence i is `starts[i]..starts[i + 1]`.
    pub starts: Vec<usize>,
}

impl Packed {
    /// Packs rows of (input_ids, labels).
    pub fn from_rows<'a>(_rows: impl IntoIterator<Item = (&'a [u32], &'a [i32])>) -> Self {
        todo!()
    }
    /// Tokens, T.
    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }
    /// Sequences.
    pub fn sequences(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }
    /// Predictions that are supervised, after the shift (the first position of a sequence is never predicted).
    pub fn supervised(&self) -> usize {
        todo!()
    }
}

/// Loss of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SequenceLoss {
    /// Sum of −log p over supervised tokens, nats.
    pub nll: f64,
    /// Supervised tokens.
    pub tokens: usize,
    /// Of those, how many were the argmax.
    pub correct: usize,
}

/// Dropout on the adapters' inputs; the mask is a function of (seed, step, module, position, feature).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of dropping a value.
    pub p: f32,
    /// Seed of the run.
    pub seed: u64,
    /// Micro-step counter of the run.
    pub step: u64,
}

/// A way through the decoder.
pub trait Route {
    /// Logits of all positions, (T, V) row-major. For tests and checks; never used in training.
    fn logits(&mut self, adapter: Option<&Adapter>, packed: &Packed) -> Result<Vec<f32>, Error>;
    /// Loss of each sequence.
    fn losses(&mut self, adapter: Option<&Adapter>, packed: &Packed) -> Result<Vec<SequenceLoss>, Error>;
    /// Loss of each sequence; adds `scale` · d(Σ nll)/d(params) to `gradients` (laid out as `adapter.params`).
    fn gradients(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>, Error>;
}

/// The CPU route of hand-written kernels over weights where they lie. Owns one rayon pool of `threads`.
#[derive(Debug)]
pub struct Fused<'b> {
    _base: &'b Base,
}

impl<'b> Fused<'b> {
    /// Prepares the route.
    pub fn new(_base: &'b Base, _threads: usize) -> Result<Self, Error> {
        todo!()
    }
    /// Greedy continuation of a prompt with a KV cache, until a stop id (not included) or `max_new_tokens`.
    pub fn greedy(
        &mut self,
        _adapter: Option<&Adapter>,
        _prompt: &[u32],
        _max_new_tokens: usize,
        _stop: &[u32],
    ) -> Result<Vec<u32>, Error> {
        todo!()
    }
}

impl Route for Fused<'_> {
    fn logits(&mut self, _adapter: Option<&Adapter>, _packed: &Packed) -> Result<Vec<f32>, Error> {
        todo!()
    }
    fn losses(&mut self, _adapter: Option<&Adapter>, _packed: &Packed) -> Result<Vec<SequenceLoss>, Error> {
        todo!()
    }
    fn gradients(
        &mut self,
        _adapter: &Adapter,
        _packed: &Packed,
        _dropout: Option<Dropout>,
        _scale: f32,
        _gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>, Error> {
        todo!()
    }
}

pub mod composite;
pub use composite::{Composite, FullModel};
