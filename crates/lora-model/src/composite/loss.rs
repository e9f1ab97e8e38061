//! Cross-entropy on supervised rows.
use crate::{Error, Packed, SequenceLoss};
use candle_core::Tensor;

/// What is asked of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// The losses alone.
    Losses,
    /// A scalar to differentiate, too.
    Gradients,
}

/// The predictions of a pack that are supervised: row `rows[i]` of the hidden states predicts `labels[i]` for sequence
/// `sequences[i]`. Labels are shifted by one inside each sequence.
#[derive(Debug, Default)]
pub(super) struct Supervised {
    pub(super) rows: Vec<u32>,
    labels: Vec<u32>,
    sequences: Vec<usize>,
}

impl Supervised {
    /// Finds them.
    pub(super) fn of(packed: &Packed) -> Self {
        let mut found = Self::default();
        for (sequence, row, label) in packed.targets() {
            found.rows.push(row as u32);
            found.labels.push(label);
            found.sequences.push(sequence);
        }
        found
    }

    /// Loss of each sequence, from logits (N, V) of the supervised rows; if asked, also a scalar whose gradient is that of
    /// their sum.
    ///
    /// The gradient of −log p by the logits is known, p − onehot, so the scalar is Σ logits · (p − onehot) with the second
    /// factor constant: one product in the graph in place of a chain of (N, V) tensors.
    pub(super) fn losses(
        &self,
        logits: &Tensor,
        sequences: usize,
        ask: Ask,
    ) -> Result<(Vec<SequenceLoss>, Option<Tensor>), Error> {
        let mut losses = vec![SequenceLoss::default(); sequences];
        let mut values = logits.detach().flatten_all()?.to_vec1::<f32>()?;
        let vocabulary = logits.dim(1)?;
        for (i, row) in values.chunks_exact_mut(vocabulary).enumerate() {
            let label = self.labels[i] as usize;
            let (best, log_sum) = log_sum_exp(row);
            let loss = &mut losses[self.sequences[i]];
            loss.nll += log_sum - f64::from(row[label]);
            loss.tokens += 1;
            loss.correct += usize::from(best == label);
            if ask == Ask::Gradients {
                row.iter_mut()
                    .for_each(|v| *v = (*v - log_sum as f32).exp());
                row[label] -= 1.0;
            }
        }
        if ask == Ask::Losses {
            return Ok((losses, None));
        }
        let gradient = Tensor::from_vec(values, logits.shape(), logits.device())?;
        Ok((losses, Some((logits * gradient)?.sum_all()?)))
    }
}

/// The first index of the largest value, and log Σ exp.
fn log_sum_exp(row: &[f32]) -> (usize, f64) {
    let mut best = 0;
    for (i, &value) in row.iter().enumerate() {
        if value > row[best] {
            best = i;
        }
    }
    let largest = row[best];
    let sum: f64 = row.iter().map(|&v| f64::from((v - largest).exp())).sum();
    (best, f64::from(largest) + sum.ln())
}
