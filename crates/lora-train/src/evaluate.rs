//! The loss on a split: packed, without dropout, weighted by supervised tokens.
use crate::trainable::Trainable;
use lora_cli::{Result, Ui};
use lora_data::Example;
use lora_model::{Packed, SequenceLoss};

/// Tokens that are scored together.
const TOKENS: usize = 1024;

/// Sums of all sequences' losses.
pub(crate) fn evaluate(
    model: &mut dyn Trainable,
    examples: &[Example],
    ui: &Ui,
) -> Result<SequenceLoss> {
    let lengths: Vec<usize> = examples.iter().map(|e| e.input_ids.len()).collect();
    let order: Vec<usize> = (0..examples.len()).collect();
    let batches = lora_data::batches(&order, &lengths, None, Some(TOKENS));
    let progress = ui.progress("valid", examples.len() as u64, "example");
    let mut sum = SequenceLoss::default();
    for rows in batches {
        ui.check_interrupt()?;
        add(&mut sum, &model.losses(&pack(examples, &rows))?);
        progress.inc(rows.len() as u64);
    }
    Ok(sum)
}

/// Lays rows end to end.
pub(crate) fn pack(examples: &[Example], rows: &[usize]) -> Packed {
    Packed::from_rows(
        rows.iter()
            .map(|&row| (&examples[row].input_ids[..], &examples[row].labels[..])),
    )
}

/// Adds losses, in order.
pub(crate) fn add(sum: &mut SequenceLoss, losses: &[SequenceLoss]) {
    for loss in losses {
        sum.nll += loss.nll;
        sum.tokens += loss.tokens;
        sum.correct += loss.correct;
    }
}
