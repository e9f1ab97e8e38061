//! Cross-entropy over rows of logits.
use super::{Args, block_a_row, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// Threads of a row of logits at most.
const THREADS: usize = 512;

impl Gpu {
    /// −log softmax(cap(logits))\[target\] of each row of `logits` (n, V), f32; targets (u32), losses (f32, nats) and
    /// `correct` (u32) are those from `first` on. `correct` is 1 if the target is the largest logit, the first of equals.
    /// `gradient`, if wanted, is a scale and where scale·(softmax − onehot)·cap′ goes, (n, V) of activations: it may be where
    /// the logits are if these are f32. The loss of a target outside of the vocabulary is NaN.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes, lengths or types don't fit.
    #[allow(clippy::too_many_arguments)] // inputs and outputs of one pass over the logits
    pub fn cross_entropy(
        &self,
        logits: Mat<'_>,
        targets: &Tensor,
        first: usize,
        softcap: Option<f32>,
        losses: &Tensor,
        correct: &Tensor,
        gradient: Option<(f32, Mat<'_>)>,
    ) -> Result<(), Error> {
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
