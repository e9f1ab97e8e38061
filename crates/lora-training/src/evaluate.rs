//! The loss on a split: packed, without dropout, weighted by supervised tokens.
use crate::error::{Error, Result};
use crate::event::{Event, Observer};
use crate::trainable::{LossSum, Trainable};

/// Tokens that are scored together, at most.
pub const EVALUATION_TOKENS: usize = 1024;

/// Sums of all rows' losses; none if the observer asked to stop.
///
/// # Errors
/// If rows don't fit the model, or the observer asks to stop (then with step 0).
pub fn evaluate<M: Trainable + ?Sized>(
    model: &mut M,
    rows: &[M::Row],
    observer: &mut dyn Observer,
) -> Result<LossSum> {
    let lengths: Vec<usize> = rows.iter().map(|row| model.size(row).tokens).collect();
    let order: Vec<usize> = (0..rows.len()).collect();
    let mut sum = LossSum::default();
    let mut done = 0;
    for batch in lora_data::batches(&order, &lengths, None, Some(EVALUATION_TOKENS)) {
        if observer.stop() {
            return Err(Error::Interrupted { step: 0 });
        }
        let batch: Vec<&M::Row> = batch.iter().map(|&row| &rows[row]).collect();
        sum.add(&model.losses(&batch)?);
        done += batch.len();
        let rows = rows.len();
        observer.event(&Event::Evaluating { done, rows });
    }
    Ok(sum)
}
