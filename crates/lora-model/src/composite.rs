//! The composite route: the same decoder as a plain candle graph of differentiable ops; the oracle for the fused
//! route's gradients, and the one that can train all weights.
use crate::{Base, Dropout, Error, Packed, Route, SequenceLoss};
use lora_checkpoint::ModelConfig;
use lora_core::Adapter;
use std::ops::Range;
use std::path::Path;

/// The decoder as a candle graph.
#[derive(Debug)]
pub struct Composite {}

impl Composite {
    /// Reads the base's weights into f32 tensors.
    pub fn new(_base: &Base) -> Result<Self, Error> {
        todo!()
    }
}

impl Route for Composite {
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

/// All weights of a decoder as one flat vector, for `--method full`.
#[derive(Debug, Clone)]
pub struct FullModel {
    /// Shape.
    pub config: ModelConfig,
    /// Hugging Face name, shape and place in `params` of every weight.
    pub tensors: Vec<(String, Vec<usize>, Range<usize>)>,
    /// Values.
    pub params: Vec<f32>,
}

impl FullModel {
    /// A copy of a base's weights.
    pub fn from_base(_base: &Base) -> Result<Self, Error> {
        todo!()
    }
    /// Random weights: N(0, 0.02²) matrices (transformers' `initializer_range`), norms 1.
    pub fn random(_config: ModelConfig, _seed: u64) -> Result<Self, Error> {
        todo!()
    }
    /// Writes `model.safetensors` into an existing folder in bf16 or f32.
    pub fn save(&self, _dir: &Path, _bf16: bool) -> Result<(), Error> {
        todo!()
    }
    /// Loss of each sequence.
    pub fn losses(&self, _packed: &Packed) -> Result<Vec<SequenceLoss>, Error> {
        todo!()
    }
    /// Loss of each sequence; adds `scale` · d(Σ nll)/d(params) to `gradients`.
    pub fn gradients(&self, _packed: &Packed, _scale: f32, _gradients: &mut [f32]) -> Result<Vec<SequenceLoss>, Error> {
        todo!()
    }
}
