//! What happens to attention's scores between the products.
use super::{Args, THREADS, block_a_row, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// Scores or probabilities, dense (heads, queries, keys). Query i stands at position past + i and sees the keys j with
/// j ≤ past + i and, if there is a window, past + i − j < window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Heads.
    pub heads: usize,
    /// Queries.
    pub queries: usize,
    /// Keys.
    pub keys: usize,
    /// Position of the first query.
    pub past: usize,
    /// Keys that a query sees at most, itself the last.
    pub window: Option<usize>,
    /// Factor of the raw q·k.
    pub scale: f32,
    /// c of c·tanh(s/c), to which scaled scores s are capped.
    pub softcap: Option<f32>,
}

impl Scores {
    fn len(&self) -> usize {
        self.heads * self.queries * self.keys
    }

    /// # Panics
    /// If a window or cap is not above 0, or a head has no sink where there are some.
    fn args(&self, args: Args, sinks: Option<&Tensor>) -> Args {
        if let Some(sinks) = sinks {
            check_tensor("sinks", sinks, Dtype::F32, self.heads);
        }
        assert!(self.window != Some(0), "a window of no keys");
        assert!(
            self.softcap.is_none_or(|cap| cap > 0.0),
            "a cap of {:?}",
            self.softcap
        );
        // A window that reaches to the first key from the last position is none.
        let window = self.window.filter(|&w| w < self.past + self.queries);
        args.maybe(sinks)
            .int(self.keys)
            .int(self.past)
            .int(window.unwrap_or(0))
            .float(self.scale)
            .float(self.softcap.unwrap_or(0.0))
    }
}

impl Gpu {
    /// p = softmax(cap(scale·s)) over the keys that each query sees, 0 for the others: `s` are raw q·k in f32, `p` activations.
    /// A head's sink, f32 (heads), is a score that stands in the sum beside those of the keys.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If lengths or types don't fit.
    pub fn softmax(
        &self,
        s: &Tensor,
        (shape, sinks): (Scores, Option<&Tensor>),
        p: &Tensor,
    ) -> Result<(), Error> {
        check_tensor("scores", s, Dtype::F32, shape.len());
        check_tensor("probabilities", p, self.dtype(), shape.len());
        let args = shape.args(Args::new().tensor(s, 0).tensor(p, 0), sinks);
        let grid = block_a_row(shape.queries, shape.heads, shape.keys, THREADS);
        self.launch("softmax", grid, &args)
    }

    /// From the gradient of the probabilities, `d_p` in f32: `d_s`, that of the raw q·k (scale and the cap's slope are in
    /// it), and once more `p`, the same bytes that [`softmax`](Self::softmax) wrote. Both are activations, 0 where unseen.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If lengths or types don't fit.
    pub fn softmax_backward(
        &self,
        s: &Tensor,
        d_p: &Tensor,
        (shape, sinks): (Scores, Option<&Tensor>),
        p: &Tensor,
        d_s: &Tensor,
    ) -> Result<(), Error> {
        check_tensor("scores", s, Dtype::F32, shape.len());
        check_tensor("gradient of probabilities", d_p, Dtype::F32, shape.len());
        check_tensor("probabilities", p, self.dtype(), shape.len());
        check_tensor("gradient of scores", d_s, self.dtype(), shape.len());
        let tensors = Args::new()
            .tensor(s, 0)
            .tensor(d_p, 0)
            .tensor(p, 0)
            .tensor(d_s, 0);
        let grid = block_a_row(shape.queries, shape.heads, shape.keys, THREADS);
        self.launch("softmax_backward", grid, &shape.args(tensors, sinks))
    }

    /// Every head of `from` (T, heads · d) becomes `group` heads of `to` (T, heads · group · d), side by side: keys or values
    /// for each query head. Both are activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn repeat_heads(
        &self,
        from: Mat<'_>,
        head_dim: usize,
        group: usize,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (to.rows(), to.columns());
        assert!(
            head_dim > 0 && group > 0 && columns.is_multiple_of(head_dim * group),
            "{columns} columns of heads of {head_dim}, {group} times"
        );
        check_mat("heads", from, self.dtype(), rows, columns / group);
        check_mat("repeated heads", to, self.dtype(), rows, columns);
        let args = Args::new().mat(from).int(head_dim).int(group).mat(to);
        let args = args.long(rows).long(columns);
        self.launch("repeat_heads", over_values(rows, columns), &args)
    }

    /// The gradient of [`repeat_heads`](Self::repeat_heads): `to` (T, heads · d) of activations is the sum of each head's
    /// `group` in `from` (T, heads · group · d), f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn sum_heads(
        &self,
        from: Mat<'_>,
        head_dim: usize,
        group: usize,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (to.rows(), to.columns());
        assert!(
            head_dim > 0 && group > 0 && columns.is_multiple_of(head_dim),
            "{columns} columns of heads of {head_dim}"
        );
        check_mat(
            "gradient of repeated heads",
            from,
            Dtype::F32,
            rows,
            columns * group,
        );
        check_mat("gradient of heads", to, self.dtype(), rows, columns);
        let args = Args::new().mat(from).int(head_dim).int(group).mat(to);
        let args = args.long(rows).long(columns);
        self.launch("sum_heads", over_values(rows, columns), &args)
    }
}
