//! DoRA (Liu et al. 2024): the norms of W + s·B·A without forming it, and what its magnitudes scale.
use super::{
    Args, THREADS, block_a_row, check_mat, check_shapes, check_tensor, over_columns, over_values,
};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// What norms of W + s·B·A are computed from, all in f32.
#[derive(Debug, Clone, Copy)]
pub struct DoraFactors<'t> {
    /// ΣW² of each output: (out).
    pub squares: &'t Tensor,
    /// (out, r).
    pub b: Mat<'t>,
    /// W·Aᵀ: (out, r).
    pub projected: Mat<'t>,
    /// A·Aᵀ: (r, r).
    pub gram: Mat<'t>,
    /// s.
    pub scaling: f32,
}

impl DoraFactors<'_> {
    fn check(&self) -> (usize, usize) {
        let (outputs, rank) = (self.b.rows(), self.b.columns());
        check_tensor("squares", self.squares, Dtype::F32, outputs);
        check_mat("B", self.b, Dtype::F32, outputs, rank);
        check_mat("W·Aᵀ", self.projected, Dtype::F32, outputs, rank);
        check_mat("A·Aᵀ", self.gram, Dtype::F32, rank, rank);
        (outputs, rank)
    }
}

impl Gpu {
    /// norm = ‖W + s·B·A‖ of each output, by norm² = ΣW² + 2s·b·(W·Aᵀ) + s²·b·(A·Aᵀ)·bᵀ, and gain = magnitude / norm: the
    /// magnitude is (1, out), norms and gain are (out), all in f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn dora_gain(
        &self,
        factors: DoraFactors<'_>,
        magnitude: Mat<'_>,
        norms: &Tensor,
        gain: &Tensor,
    ) -> Result<(), Error> {
        let (outputs, rank) = factors.check();
        check_mat("magnitude", magnitude, Dtype::F32, 1, outputs);
        check_tensor("norms", norms, Dtype::F32, outputs);
        check_tensor("gain", gain, Dtype::F32, outputs);
        let args = Args::new()
            .tensor(factors.squares, 0)
            .mat(factors.b)
            .mat(factors.projected)
            .mat(factors.gram)
            .float(factors.scaling)
            .first(magnitude)
            .tensor(norms, 0)
            .tensor(gain, 0)
            .int(rank);
        let grid = block_a_row(outputs, 1, 4 * rank, THREADS);
        self.launch("dora_gain", grid, &args)
    }

    /// y = gain∘z, (T, out) of activations; the gain is f32, from its value `first` on. y may be z.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn scale_columns(
        &self,
        z: Mat<'_>,
        gain: &Tensor,
        first: usize,
        y: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (z.rows(), z.columns());
        check_mat("z", z, self.dtype(), rows, columns);
        check_mat("y", y, self.dtype(), rows, columns);
        check_tensor("gain", gain, Dtype::F32, first + columns);
        let args = Args::new()
            .mat(z)
            .tensor(gain, first)
            .mat(y)
            .long(rows)
            .long(columns);
        self.launch("scale_columns", over_values(rows, columns), &args)
    }

    /// d_m += Σ dy∘z / norm over rows: the gradient of the magnitude m of y = (m / norm)∘z, the norm being a constant. dy and
    /// z are (T, out) of activations, `norms` (out) and `d_m` (1, out) f32. A magnitude whose norm is 0 gets none.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn magnitude_gradient(
        &self,
        dy: Mat<'_>,
        z: Mat<'_>,
        norms: &Tensor,
        d_m: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (dy.rows(), dy.columns());
        check_shapes("a magnitude's gradient", &[dy, z]);
        check_mat("dy", dy, self.dtype(), rows, columns);
        check_mat("z", z, self.dtype(), rows, columns);
        check_tensor("norms", norms, Dtype::F32, columns);
        check_mat("magnitude's gradient", d_m, Dtype::F32, 1, columns);
        let args = Args::new()
            .mat(dy)
            .mat(z)
            .tensor(norms, 0)
            .first(d_m)
            .long(rows)
            .long(columns);
        self.launch("magnitude_gradient", over_columns(columns), &args)
    }

    /// squares = Σ w² of each row of w (out, in), activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn row_squares(&self, w: Mat<'_>, squares: &Tensor) -> Result<(), Error> {
        check_mat("weight", w, self.dtype(), w.rows(), w.columns());
        check_tensor("squares", squares, Dtype::F32, w.rows());
        let args = Args::new().mat(w).tensor(squares, 0).int(w.columns());
        let grid = block_a_row(w.rows(), 1, w.columns(), THREADS);
        self.launch("row_squares", grid, &args)
    }
}
