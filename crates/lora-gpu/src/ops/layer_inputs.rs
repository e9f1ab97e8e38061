//! The inputs of layers that are looked up by token (Gemma's per-layer embeddings), of all layers side by side.
use super::norm::groups;
use super::{Args, THREADS, block_a_row, check_mat, check_tensor};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// Rows of a table, activations.
#[derive(Debug, Clone, Copy)]
pub struct TableRows<'t> {
    /// The table, (V, L·P).
    pub table: Mat<'t>,
    /// Which row each is, u32 (T); without them row t is the table's row t.
    pub ids: Option<&'t Tensor>,
    /// What they are multiplied by.
    pub scale: f32,
}

impl Gpu {
    /// e = factor·(γ·x/√(mean(x²) + ε) + scale·row), where the mean is that of each layer by itself: x and e are activations
    /// (T, L·P), γ is (P) in f32, and 1/√(…) of layer l of row t goes to `rstd`\[t·L + l\]. The gradient of x is that of
    /// [`norm_backward`](Self::norm_backward) for factor·de.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit. That ids lie in the table is the caller's promise.
    pub fn layer_inputs(
        &self,
        x: Mat<'_>,
        (gamma, eps): (&Tensor, f32),
        rows: TableRows<'_>,
        factor: f32,
        (e, rstd): (Mat<'_>, &Tensor),
    ) -> Result<(), Error> {
        let (t, columns, width) = (x.rows(), x.columns(), gamma.len());
        let layers = groups(columns, width);
        check_mat("what is normalised", x, self.dtype(), t, columns);
        check_mat("inputs of layers", e, self.dtype(), t, columns);
        check_tensor("γ", gamma, Dtype::F32, width);
        check_tensor("rstd", rstd, Dtype::F32, t * layers);
        let TableRows { table, ids, scale } = rows;
        check_mat("table", table, self.dtype(), table.rows(), columns);
        match ids {
            Some(ids) => check_tensor("ids", ids, Dtype::U32, t),
            None => assert!(table.rows() >= t, "{t} rows of {}", table.rows()),
        }
        let args = Args::new().mat(x).tensor(gamma, 0).float(eps);
        let args = args.mat(table).maybe(ids).float(scale).float(factor);
        let args = args.mat(e).tensor(rstd, 0).int(width);
        let grid = block_a_row(t, layers, width, THREADS);
        self.launch("layer_inputs", grid, &args)
    }
}
