//! RMSNorm with a weight γ, of whole rows or of each head by itself.
use super::{Args, THREADS, block_a_row, check_mat, check_shapes, check_tensor, over_columns};
use crate::{Dtype, Error, Gpu, Mat, Tensor, Write};

/// Groups of γ's width that a row of `columns` consists of.
pub(super) fn groups(columns: usize, width: usize) -> usize {
    assert!(
        width > 0 && columns.is_multiple_of(width),
        "rows of {columns} are normalised by {width}"
    );
    columns / width
}

impl Gpu {
    /// n = γ·x/√(mean(x²) + ε) of every row, or of every `gamma.len()` columns of it: x is (T, g·w) in f32 or activations, γ is
    /// (w) in f32, n is (T, g·w) of activations, and 1/√(…) of group i of row t goes to `rstd`\[t·g + i\].
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn norm(
        &self,
        x: Mat<'_>,
        gamma: &Tensor,
        eps: f32,
        n: Mat<'_>,
        rstd: &Tensor,
    ) -> Result<(), Error> {
        let (width, groups) = self.check_norm(x, gamma, rstd);
        check_mat("normalised rows", n, self.dtype(), x.rows(), x.columns());
        let args = Args::new()
            .mat(x)
            .tensor(gamma, 0)
            .float(eps)
            .mat(n)
            .tensor(rstd, 0)
            .int(width);
        let grid = block_a_row(x.rows(), groups, width, THREADS);
        self.launch(self.typed("norm", &[x]), grid, &args)
    }

    /// n from the kept `rstd`, the same bytes that [`norm`](Self::norm) wrote.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn norm_again(
        &self,
        x: Mat<'_>,
        gamma: &Tensor,
        rstd: &Tensor,
        n: Mat<'_>,
    ) -> Result<(), Error> {
        let (width, groups) = self.check_norm(x, gamma, rstd);
        check_mat("normalised rows", n, self.dtype(), x.rows(), x.columns());
        let args = Args::new()
            .mat(x)
            .tensor(gamma, 0)
            .tensor(rstd, 0)
            .mat(n)
            .int(width);
        let grid = block_a_row(x.rows(), groups, width, THREADS);
        self.launch(self.typed("norm_again", &[x]), grid, &args)
    }

    /// x += norm(y): y is (T, w) of activations, x is (T, w) in f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn norm_add(
        &self,
        y: Mat<'_>,
        gamma: &Tensor,
        eps: f32,
        x: Mat<'_>,
        rstd: &Tensor,
    ) -> Result<(), Error> {
        let (width, groups) = self.check_norm(y, gamma, rstd);
        assert_eq!(groups, 1, "whole rows are normalised");
        check_mat("y", y, self.dtype(), y.rows(), width);
        check_mat("x", x, Dtype::F32, y.rows(), width);
        let args = Args::new()
            .mat(y)
            .tensor(gamma, 0)
            .float(eps)
            .mat(x)
            .tensor(rstd, 0)
            .int(width);
        let grid = block_a_row(y.rows(), 1, width, THREADS);
        self.launch("norm_add", grid, &args)
    }

    /// dx = rstd·(γ∘dn − x·rstd²·mean(γ∘dn∘x)), or added to it. x, dn and dx are f32 or activations each; dx may be dn or x.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn norm_backward(
        &self,
        x: Mat<'_>,
        gamma: &Tensor,
        rstd: &Tensor,
        dn: Mat<'_>,
        dx: Mat<'_>,
        write: Write,
    ) -> Result<(), Error> {
        let (width, groups) = self.check_norm(x, gamma, rstd);
        check_shapes("a norm's gradient", &[x, dn, dx]);
        let args = Args::new()
            .mat(x)
            .tensor(gamma, 0)
            .tensor(rstd, 0)
            .mat(dn)
            .mat(dx)
            .int(width)
            .int(usize::from(write == Write::Add));
        let grid = block_a_row(x.rows(), groups, width, THREADS);
        self.launch(self.typed("norm_backward", &[x, dn, dx]), grid, &args)
    }

    /// dγ += Σ dn∘x·rstd over rows and groups: `d_gamma` is (1, w) in f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn norm_weight_gradient(
        &self,
        x: Mat<'_>,
        rstd: &Tensor,
        dn: Mat<'_>,
        d_gamma: Mat<'_>,
    ) -> Result<(), Error> {
        let width = d_gamma.columns();
        let groups = groups(x.columns(), width);
        check_shapes("a norm's gradient", &[x, dn]);
        check_mat("γ's gradient", d_gamma, Dtype::F32, 1, width);
        check_tensor("rstd", rstd, Dtype::F32, x.rows() * groups);
        let args = Args::new()
            .mat(x)
            .tensor(rstd, 0)
            .mat(dn)
            .first(d_gamma)
            .long(x.rows())
            .int(groups)
            .int(width);
        let kernel = self.typed("norm_weight_gradient", &[x, dn]);
        self.launch(kernel, over_columns(width), &args)
    }

    fn check_norm(&self, x: Mat<'_>, gamma: &Tensor, rstd: &Tensor) -> (usize, usize) {
        let width = gamma.len();
        let groups = groups(x.columns(), width);
        check_tensor("γ", gamma, Dtype::F32, width);
        check_tensor("rstd", rstd, Dtype::F32, x.rows() * groups);
        (width, groups)
    }
}
