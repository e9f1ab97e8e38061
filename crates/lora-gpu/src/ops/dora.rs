//! DoRA (Liu et al. 2024): the norms of W + s·B·A without forming it, and what its magnitudes scale.
use super::{Args, THREADS, block_a_row, check_mat, check_shapes, over_columns, over_values};
use crate::{Dtype, Error, Gpu, Mat, Write};

/// What norms of W + s·B·A are computed from.
#[derive(Debug, Clone, Copy)]
pub struct DoraFactors<'t> {
    /// ΣW² of each output, f32 (1, out).
    pub squares: Mat<'t>,
    /// s·B as products read it: activations (out, r).
    pub b: Mat<'t>,
    /// W·Aᵀ, f32 (out, r).
    pub projected: Mat<'t>,
    /// A·Aᵀ, f32 (r, r).
    pub gram: Mat<'t>,
}

impl DoraFactors<'_> {
    fn check(&self, activations: Dtype) -> (usize, usize) {
        let (outputs, rank) = (self.b.rows(), self.b.columns());
        check_mat("squares", self.squares, Dtype::F32, 1, outputs);
        check_mat("s·B", self.b, activations, outputs, rank);
        check_mat("W·Aᵀ", self.projected, Dtype::F32, outputs, rank);
        check_mat("A·Aᵀ", self.gram, Dtype::F32, rank, rank);
        (outputs, rank)
    }
}

impl Gpu {
    /// norm = ‖W + s·B·A‖ of each output, by norm² = ΣW² + 2s·b·(W·Aᵀ) + s²·b·(A·Aᵀ)·bᵀ, and gain = magnitude / norm:
    /// magnitude, norms and gain are (1, out), all in f32.
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
        norms: Mat<'_>,
        gain: Mat<'_>,
    ) -> Result<(), Error> {
        let (outputs, rank) = factors.check(self.dtype());
        check_mat("magnitude", magnitude, Dtype::F32, 1, outputs);
        check_mat("norms", norms, Dtype::F32, 1, outputs);
        check_mat("gain", gain, Dtype::F32, 1, outputs);
        let args = Args::new()
            .first(factors.squares)
            .mat(factors.b)
            .mat(factors.projected)
            .mat(factors.gram)
            .first(magnitude)
            .first(norms)
            .first(gain)
            .int(rank);
        let grid = block_a_row(outputs, 1, 4 * rank, THREADS);
        self.launch("dora_gain", grid, &args)
    }

    /// y = (gain − less)∘z, or added to y: z and y are (T, out), each f32 or activations, the gain (1, out) in f32. y may be z.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn scale_columns(
        &self,
        z: Mat<'_>,
        (gain, less): (Mat<'_>, f32),
        y: Mat<'_>,
        write: Write,
    ) -> Result<(), Error> {
        let (rows, columns) = (z.rows(), z.columns());
        check_shapes("a scaled matrix", &[z, y]);
        check_mat("gain", gain, Dtype::F32, 1, columns);
        let args = Args::new()
            .mat(z)
            .first(gain)
            .float(less)
            .mat(y)
            .int(usize::from(write == Write::Add))
            .long(rows)
            .long(columns);
        let kernel = self.typed("scale_columns", &[z, y]);
        self.launch(kernel, over_values(rows, columns), &args)
    }

    /// d_m += Σ dy∘z / norm over rows: the gradient of the magnitude m of y = (m / norm)∘z, the norm being a constant. dy and
    /// z are (T, out) of activations or f32 (z is f32 if dy is), `norms` and `d_m` (1, out) in f32. A magnitude whose norm is 0
    /// gets none.
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
        norms: Mat<'_>,
        d_m: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (dy.rows(), dy.columns());
        check_shapes("a magnitude's gradient", &[dy, z]);
        check_mat("norms", norms, Dtype::F32, 1, columns);
        check_mat("magnitude's gradient", d_m, Dtype::F32, 1, columns);
        let args = Args::new()
            .mat(dy)
            .mat(z)
            .first(norms)
            .first(d_m)
            .long(rows)
            .long(columns);
        let kernel = self.typed("magnitude_gradient", &[dy, z]);
        self.launch(kernel, over_columns(columns), &args)
    }

    /// squares (1, out), f32 = Σ w² of each row of w (out, in), activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn row_squares(&self, w: Mat<'_>, squares: Mat<'_>) -> Result<(), Error> {
        check_mat("weight", w, self.dtype(), w.rows(), w.columns());
        check_mat("squares", squares, Dtype::F32, 1, w.rows());
        let args = Args::new().mat(w).first(squares).int(w.columns());
        let grid = block_a_row(w.rows(), 1, w.columns(), THREADS);
        self.launch("row_squares", grid, &args)
    }

    /// squares (1, columns), f32, += Σ w² of each column of w (rows, columns), activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn add_column_squares(&self, w: Mat<'_>, squares: Mat<'_>) -> Result<(), Error> {
        let (rows, columns) = (w.rows(), w.columns());
        check_mat("weight", w, self.dtype(), rows, columns);
        check_mat("squares", squares, Dtype::F32, 1, columns);
        let args = Args::new().mat(w).first(squares).long(rows).long(columns);
        self.launch("add_column_squares", over_columns(columns), &args)
    }
}
