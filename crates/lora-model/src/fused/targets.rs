//! The supervised tokens of a batch: which row predicts each, and the losses of each sequence.
use super::batch::Batch;
use super::binding::Binding;
use super::rows::Wanted;
use crate::{Packed, SequenceLoss};
use lora_kernels::loss::TokenLoss;

/// The supervised tokens of a batch.
#[derive(Debug)]
pub(crate) struct Targets {
    /// The sequence of each.
    sequences: Vec<usize>,
    pub(crate) ids: Vec<u32>,
    /// The row that predicts each.
    pub(crate) wanted: Wanted,
    /// Sequences in all.
    count: usize,
}

impl Targets {
    /// `all_rows`: the last layer computes those, too, that predict nothing.
    pub(crate) fn of(
        packed: &Packed,
        batch: &Batch,
        binding: &Binding<'_>,
        all_rows: bool,
    ) -> Self {
        let targets = packed.targets();
        let (sequences, ids) = targets.map(|(sequence, _, id)| (sequence, id)).unzip();
        let rows = packed
            .targets()
            .map(|(sequence, at, _)| batch.row(sequence, at - packed.starts[sequence]))
            .collect();
        let wanted = if binding.drops() || all_rows {
            Wanted::among_all(rows)
        } else {
            Wanted::of(rows, batch.tokens())
        };
        Self {
            sequences,
            ids,
            wanted,
            count: packed.sequences(),
        }
    }

    /// The loss of each sequence from those of the tokens.
    pub(crate) fn by_sequence(&self, losses: &[TokenLoss]) -> Vec<SequenceLoss> {
        let mut all = vec![SequenceLoss::default(); self.count];
        for (&sequence, token) in self.sequences.iter().zip(losses) {
            let loss = &mut all[sequence];
            loss.nll += f64::from(token.nll);
            loss.tokens += 1;
            loss.correct += usize::from(token.correct);
        }
        all
    }
}
