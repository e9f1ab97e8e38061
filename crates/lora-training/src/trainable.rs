//! What the training loop sees of a model: flat parameters, gradients of some rows, losses, and a folder to save into.
use crate::error::Result;
use lora_kernels::profile::Profile;
use lora_model::ProductPeak;
use lora_model::{Scales, SequenceLoss};
use std::ops::Range;
use std::path::Path;

/// One tensor of the flat parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Name as people know it, e.g. `model.layers.0.self_attn.q_proj.lora_A`.
    pub name: String,
    /// Its place in the flat parameters.
    pub range: Range<usize>,
    /// Weight decay applies.
    pub decays: bool,
    /// Its learning rate as a multiple of the run's (LoRA+).
    pub rate: f64,
    /// For a factor A or B, where the other lies: as long as that is all zero, the gradient is exactly zero.
    pub follows: Option<Range<usize>>,
}

/// What a row counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSize {
    /// Tokens, for batches by tokens or by length.
    pub tokens: usize,
    /// Its weight in the mean loss of a step: supervised tokens.
    pub supervised: usize,
}

/// What one micro-batch is to its step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MicroBatch {
    /// Counts micro-batches over the run: the key of what is random in it (dropout).
    pub number: u64,
    /// What its summed loss is multiplied by: one over the weight of the whole step.
    pub scale: f32,
    /// What the loss for the balance of its tokens' experts is multiplied by, where that counts: its coefficient over the
    /// micro-batches of the step.
    pub balance: Option<f32>,
}

impl MicroBatch {
    /// What both losses are multiplied by, where experts are to be balanced.
    pub(crate) fn scales(&self) -> Option<Scales> {
        let nll = self.scale;
        self.balance.map(|balance| Scales { nll, balance })
    }
}

/// Losses of the rows of one batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BatchLoss {
    /// One a row, in order.
    pub rows: Vec<SequenceLoss>,
    /// Tokens of the rows.
    pub tokens: usize,
    /// Tokens that were computed: fewer where rows begin alike.
    pub computed: usize,
    /// The loss for the balance of experts, before its coefficient, where it was asked for.
    pub balance: Option<f64>,
}

/// Losses of many rows, added up row by row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossSum {
    /// Sum over supervised tokens, nats.
    pub nll: f64,
    /// Supervised tokens.
    pub supervised: usize,
    /// Of those, how many were the most probable.
    pub correct: usize,
    /// Tokens of the rows.
    pub tokens: usize,
    /// Tokens that were computed.
    pub computed: usize,
    /// Sum over the batches of the loss for the balance of experts, and how many have one.
    pub balance: (f64, usize),
}

impl LossSum {
    /// Adds a batch, row by row: the sum does not depend on how rows are batched.
    pub fn add(&mut self, batch: &BatchLoss) {
        for row in &batch.rows {
            self.nll += row.nll;
            self.supervised += row.tokens;
            self.correct += row.correct;
        }
        self.tokens += batch.tokens;
        self.computed += batch.computed;
        if let Some(balance) = batch.balance {
            self.balance = (self.balance.0 + balance, self.balance.1 + 1);
        }
    }

    /// Mean loss per supervised token.
    pub fn mean(&self) -> f64 {
        self.nll / self.supervised as f64
    }

    /// Mean over the batches of the loss for the balance of experts.
    pub fn mean_balance(&self) -> Option<f64> {
        let (sum, batches) = self.balance;
        (batches > 0).then(|| sum / batches as f64)
    }
}

/// Something that learns from rows: its parameters, or those of them that train, are one flat vector.
pub trait Trainable {
    /// What it learns from.
    type Row;

    /// The tensors, in order; together they are all parameters.
    fn slots(&self) -> &[Slot];

    /// Values.
    fn params(&self) -> &[f32];

    /// Values, to be changed by the optimiser.
    fn params_mut(&mut self) -> &mut [f32];

    /// What a row counts for.
    fn size(&self, row: &Self::Row) -> RowSize;

    /// Adds `batch.scale` · d(Σ loss)/d(params) to `gradients`, which are laid out as the parameters, and `batch.balance` times
    /// that of the loss for the balance of experts.
    ///
    /// # Errors
    /// If the rows don't fit the model.
    fn gradients(
        &mut self,
        rows: &[&Self::Row],
        batch: MicroBatch,
        gradients: &mut [f32],
    ) -> Result<BatchLoss>;

    /// Loss of rows, without anything random.
    ///
    /// # Errors
    /// If the rows don't fit the model.
    fn losses(&mut self, rows: &[&Self::Row]) -> Result<BatchLoss>;

    /// Writes the model with other `params` than its own into an existing folder.
    ///
    /// # Errors
    /// If it can't be written.
    fn save(&self, params: &[f32], dir: &Path) -> Result<()>;

    /// The model as one that keeps parameters, gradients and moments where it computes, if it does.
    fn resident(&mut self) -> Option<&mut dyn Resident<Self::Row>> {
        None
    }

    /// Where the time went, if that is counted.
    fn profile(&self) -> Option<&Profile> {
        None
    }

    /// What a matrix product alone reaches where the model is computed, if that is not the CPU.
    fn product_peak(&self) -> Result<Option<ProductPeak>> {
        Ok(None)
    }
}

/// One step of AdamW.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// Counted from 1.
    pub step: u64,
    /// Learning rate.
    pub lr: f64,
    /// What gradients are multiplied by.
    pub clip: f32,
}

/// A model whose parameters, gradients and moments stay where it computes, so that nothing of their size travels at a step.
/// What [`Trainable::params`] gives is then what was fetched last.
pub trait Resident<Row> {
    /// Takes [`Trainable::params`] and these moments there.
    ///
    /// # Errors
    /// If there is no memory for them.
    fn set(&mut self, m: &[f32], v: &[f32]) -> Result<()>;

    /// Forgets all gradients.
    fn clear(&mut self);

    /// The gradients of a micro-batch are the next leaf of the fixed tree of sums.
    ///
    /// # Errors
    /// If the rows don't fit the model.
    fn accumulate(&mut self, rows: &[&Row], batch: MicroBatch) -> Result<BatchLoss>;

    /// √Σ g² of the sum.
    ///
    /// # Errors
    /// If it can't be computed.
    fn norm(&mut self) -> Result<f64>;

    /// A copy of the sum.
    ///
    /// # Errors
    /// If it can't be had.
    fn gradients(&mut self, to: &mut [f32]) -> Result<()>;

    /// One step of AdamW.
    ///
    /// # Errors
    /// If it can't be computed.
    fn step(&mut self, weight_decay: f32, update: Update) -> Result<()>;

    /// Brings the parameters to where [`Trainable::params`] reads them.
    ///
    /// # Errors
    /// If they can't be had.
    fn fetch(&mut self) -> Result<()>;

    /// Copies of the moments.
    ///
    /// # Errors
    /// If they can't be had.
    fn moments(&mut self, m: &mut [f32], v: &mut [f32]) -> Result<()>;
}
