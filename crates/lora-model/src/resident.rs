//! An adapter that learns where it is computed: parameters, gradients and moments stay there between steps.
use crate::{Dropout, Error, Packed, SequenceLoss};
use lora_core::Adapter;
use lora_kernels::optim::{AdamW, Step};
use std::ops::Range;

/// Some parameters in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotStep {
    /// Their place in the flat parameters.
    pub range: Range<usize>,
    /// The optimiser, with their weight decay.
    pub adamw: AdamW,
    /// The step, with their learning rate.
    pub step: Step,
}

/// A way through the decoder that keeps an adapter's parameters, gradients and AdamW's moments in a device's memory.
/// Gradients of micro-batches are summed in a fixed binary tree, as the trainer does.
pub trait Resident {
    /// Takes an adapter's parameters and its optimiser's moments (as many values each) there.
    ///
    /// # Errors
    /// If the device's memory is full, or it fails.
    fn set(&mut self, adapter: &Adapter, m: &[f32], v: &[f32]) -> Result<(), Error>;

    /// Forgets all gradients.
    fn clear(&mut self);

    /// The gradient of scale · Σ nll of some rows, and of the loss for the balance of experts times its weight, if it has one, is
    /// the next leaf of the sum. Gives that loss, too, not yet multiplied. Of `adapter` only the shape counts.
    ///
    /// # Errors
    /// As for [`Route::gradients`](crate::Route::gradients) and [`Route::balanced_gradients`](crate::Route::balanced_gradients).
    fn accumulate(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        weights: (f32, Option<f32>),
    ) -> Result<(Vec<SequenceLoss>, Option<f64>), Error>;

    /// √Σ g² of the sum of all leaves.
    ///
    /// # Errors
    /// If the device fails.
    fn norm(&mut self) -> Result<f64, Error>;

    /// A copy of the sum of all leaves.
    ///
    /// # Errors
    /// If the device fails.
    fn gradients(&mut self, to: &mut [f32]) -> Result<(), Error>;

    /// One step of the optimiser with the sum of all leaves.
    ///
    /// # Errors
    /// If the device fails.
    fn step(&mut self, slots: &[SlotStep]) -> Result<(), Error>;

    /// A copy of the parameters.
    ///
    /// # Errors
    /// If the device fails.
    fn params(&mut self, to: &mut [f32]) -> Result<(), Error>;

    /// Copies of the moments.
    ///
    /// # Errors
    /// If the device fails.
    fn moments(&mut self, m: &mut [f32], v: &mut [f32]) -> Result<(), Error>;
}
