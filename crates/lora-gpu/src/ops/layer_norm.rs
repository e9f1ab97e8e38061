//! LayerNorm (Ba, Kiros and Hinton 2016) of the hidden state, with a bias or without.
use super::{Args, THREADS, block_a_row, check_mat, check_shapes, check_tensor, over_columns};
use crate::{Dtype, Error, Gpu, Mat, Tensor, Write};

/// What normalised rows are multiplied by, and what is added: both (w) in f32.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'t> {
    /// γ.
    pub gamma: &'t Tensor,
    /// The bias, if there is one.
    pub bias: Option<&'t Tensor>,
}

impl Gpu {
    /// n = γ·(x − mean(x))/√(var(x) + ε) + bias of every row, where the variance is the mean of squares about the mean: x is
    /// (T, w) in f32, n is (T, w) of activations, and 1/√(…) of row t goes to `rstd`\[t\].
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn layer_norm(
        &self,
        x: Mat<'_>,
        affine: Affine<'_>,
        eps: f32,
        n: Mat<'_>,
        rstd: &Tensor,
    ) -> Result<(), Error> {
        let width = check_rows(x, affine.gamma, rstd);
        check_mat("normalised rows", n, self.dtype(), x.rows(), width);
        let args = Args::new().mat(x).tensor(affine.gamma, 0);
        let args = match affine.bias {
            Some(bias) => {
                check_tensor("a norm's bias", bias, Dtype::F32, width);
                args.tensor(bias, 0)
            }
            None => args.null(),
        };
        let args = args.float(eps).mat(n).tensor(rstd, 0).int(width);
        let grid = block_a_row(x.rows(), 1, width, THREADS);
        self.launch("layer_norm", grid, &args)
    }

    /// dx = rstd·(γ∘dn − mean(γ∘dn) − x̂·mean(γ∘dn∘x̂)) with x̂ = (x − mean(x))·rstd, or added to it: x and dx are (T, w) in
    /// f32, dn is (T, w) in f32 or activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn layer_norm_backward(
        &self,
        x: Mat<'_>,
        gamma: &Tensor,
        rstd: &Tensor,
        dn: Mat<'_>,
        dx: Mat<'_>,
        write: Write,
    ) -> Result<(), Error> {
        let width = check_rows(x, gamma, rstd);
        check_shapes("a norm's gradient", &[x, dn]);
        check_mat("rows' gradient", dx, Dtype::F32, x.rows(), width);
        let args = Args::new()
            .mat(x)
            .tensor(gamma, 0)
            .tensor(rstd, 0)
            .mat(dn)
            .mat(dx)
            .int(width)
            .int(usize::from(write == Write::Add));
        let grid = block_a_row(x.rows(), 1, width, THREADS);
        self.launch(self.typed("layer_norm_backward", &[dn]), grid, &args)
    }

    /// dγ += Σ dn∘(x − mean(x))·rstd over rows: x is (T, w) in f32, of which the means go to `means` (T) in f32, dn is (T, w) in
    /// f32 or activations, and `d_gamma` (1, w) in f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn layer_norm_weight_gradient(
        &self,
        (x, means): (Mat<'_>, &Tensor),
        rstd: &Tensor,
        dn: Mat<'_>,
        d_gamma: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, width) = (x.rows(), x.columns());
        check_mat("rows", x, Dtype::F32, rows, width);
        check_shapes("a norm's gradient", &[x, dn]);
        check_mat("γ's gradient", d_gamma, Dtype::F32, 1, width);
        check_tensor("means", means, Dtype::F32, rows);
        check_tensor("rstd", rstd, Dtype::F32, rows);
        let args = Args::new().mat(x).tensor(means, 0).int(width);
        let grid = block_a_row(rows, 1, width, THREADS);
        self.launch("row_means", grid, &args)?;
        let args = Args::new()
            .mat(x)
            .tensor(means, 0)
            .tensor(rstd, 0)
            .mat(dn)
            .first(d_gamma)
            .long(rows)
            .long(width);
        let kernel = self.typed("layer_norm_weight_gradient", &[dn]);
        self.launch(kernel, over_columns(width), &args)
    }
}

/// The width of the rows.
fn check_rows(x: Mat<'_>, gamma: &Tensor, rstd: &Tensor) -> usize {
    let width = gamma.len();
    check_tensor("γ", gamma, Dtype::F32, width);
    check_mat("rows", x, Dtype::F32, x.rows(), width);
    check_tensor("rstd", rstd, Dtype::F32, x.rows());
    width
}
