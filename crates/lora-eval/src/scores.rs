//! The loss of every row under one model, scored in packs.
use crate::inputs::{Loaded, Model};
use lora_cli::{Error, Result, Ui};
use lora_data::Example;
use lora_model::{Generate, Packed, SequenceLoss};
use std::ops::Range;

/// Scores all rows, in file order.
pub(crate) fn score(
    route: &mut dyn Generate,
    loaded: &Loaded,
    model: &Model<'_>,
    batch_tokens: usize,
    ui: &Ui,
) -> Result<Vec<SequenceLoss>> {
    let label = format!("loss, {}", model.name);
    packed_losses(route, model, &loaded.rows, batch_tokens, &label, ui)
}

/// The loss of each of these rows; `label` names the work on the progress bar.
pub(crate) fn packed_losses(
    route: &mut dyn Generate,
    model: &Model<'_>,
    rows: &[Example],
    batch_tokens: usize,
    label: &str,
    ui: &Ui,
) -> Result<Vec<SequenceLoss>> {
    let tokens: usize = rows.iter().map(|row| row.input_ids.len()).sum();
    let progress = ui.progress(label, tokens as u64, "tok");
    let mut losses: Vec<SequenceLoss> = Vec::with_capacity(rows.len());
    for range in packs(rows, batch_tokens) {
        ui.check_interrupt()?;
        let packed = Packed::from_rows(
            rows[range]
                .iter()
                .map(|row| (row.input_ids.as_slice(), row.labels.as_slice())),
        );
        losses.extend(route.losses(model.adapter, &packed)?);
        progress.inc(packed.tokens() as u64);
    }
    match losses.iter().position(|loss| !loss.nll.is_finite()) {
        Some(row) => Err(Error::new(format!(
            "the loss of row {row} is not finite with `{}`",
            model.name
        ))
        .hint(
            "the weights hold NaN or infinite values, or overflow: look at the run that made them",
        )),
        None => Ok(losses),
    }
}

/// Consecutive rows that fit into `budget` tokens together; a longer row stands alone.
fn packs(rows: &[Example], budget: usize) -> Vec<Range<usize>> {
    let mut packs = Vec::new();
    let (mut first, mut tokens) = (0, 0);
    for (index, row) in rows.iter().enumerate() {
        if index > first && tokens + row.input_ids.len() > budget {
            packs.push(first..index);
            (first, tokens) = (index, 0);
        }
        tokens += row.input_ids.len();
    }
    if first < rows.len() {
        packs.push(first..rows.len());
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(length: usize) -> Example {
        Example {
            input_ids: vec![0; length],
            labels: vec![0; length],
            id: String::new(),
            group: String::new(),
            prompt: String::new(),
            completion: String::new(),
        }
    }

    #[test]
    fn packs_hold_every_row_once_within_the_budget() {
        let rows: Vec<_> = [3, 4, 20, 1, 2, 7].map(row).into();
        assert_eq!(packs(&rows, 8), [0..2, 2..3, 3..5, 5..6]);
        assert!(packs(&[], 8).is_empty());
    }
}
