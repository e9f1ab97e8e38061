//! Cross-entropy over rows of logits.
use super::{Args, block_a_row, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// Threads of a row of logits at most.
const THREADS: usize = 512;

/// Targets of rows, and what a loss says of each.
#[derive(Debug, Clone, Copy)]
pub struct RowLosses<'t> {
    /// u32.
    pub targets: &'t Tensor,
    /// −log p of the target, f32, in nats; NaN for a target outside of the vocabulary.
    pub losses: &'t Tensor,
    /// u32: 1 if the target is the largest logit, the first of equals.
    pub correct: &'t Tensor,
    /// The first of these that belongs to the logits that are given.
    pub first: usize,
}

impl Gpu {
    /// −log softmax(cap(logits))\[target\] of each row of `logits` (n, V), f32. `gradient`, if wanted, is a scale and where
    /// scale·(softmax − onehot)·cap′ goes, (n, V) of activations: it may be where the logits are if these are f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes, lengths or types don't fit.
    pub fn cross_entropy(
        &self,
        logits: Mat<'_>,
        of_rows: RowLosses<'_>,
        softcap: Option<f32>,
        gradient: Option<(f32, Mat<'_>)>,
    ) -> Result<(), Error> {
        let RowLosses {
            targets,
            losses,
            correct,
            first,
        } = of_rows;
        let (rows, columns) = (logits.rows(), logits.columns());
        assert!(columns > 0, "logits of no vocabulary");
        assert!(softcap.is_none_or(|cap| cap > 0.0), "a cap of {softcap:?}");
        check_mat("logits", logits, Dtype::F32, rows, columns);
        check_tensor("targets", targets, Dtype::U32, first + rows);
        check_tensor("losses", losses, Dtype::F32, first + rows);
        check_tensor("correct", correct, Dtype::U32, first + rows);
        let args = Args::new()
            .mat(logits)
            .tensor(targets, first)
            .float(softcap.unwrap_or(0.0))
            .tensor(losses, first)
            .tensor(correct, first);
        let args = match gradient {
            None => args.null().long(0).float(0.0),
            Some((scale, d)) => {
                check_mat("gradient of logits", d, self.dtype(), rows, columns);
                args.mat(d).float(scale)
            }
        };
        let grid = block_a_row(rows, 1, columns, THREADS);
        self.launch("cross_entropy", grid, &args.int(columns))
    }

    /// x = c·tanh(x/c) in place, f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If x is of another type, or the cap not above 0.
    pub fn soft_cap(&self, x: Mat<'_>, cap: f32) -> Result<(), Error> {
        assert!(cap > 0.0, "a cap of {cap}");
        check_mat("capped", x, Dtype::F32, x.rows(), x.columns());
        let (rows, columns) = super::flat(&[x]);
        let args = Args::new().mat(x).float(cap).long(rows).long(columns);
        self.launch("soft_cap", over_values(rows, columns), &args)
    }
}
