//! Conversions, sums and biases.
use super::{Args, check_mat, check_shapes, check_tensor, flat, over_columns, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

impl Gpu {
    /// to = scale·from, each f32 or activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn convert(&self, from: Mat<'_>, scale: f32, to: Mat<'_>) -> Result<(), Error> {
        check_shapes("a conversion", &[from, to]);
        let (rows, columns) = flat(&[from, to]);
        let args = Args::new()
            .mat(from)
            .float(scale)
            .mat(to)
            .long(rows)
            .long(columns);
        let kernel = self.typed("convert", &[from, to]);
        self.launch(kernel, over_values(rows, columns), &args)
    }

    /// to += from, each f32 or activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn add(&self, from: Mat<'_>, to: Mat<'_>) -> Result<(), Error> {
        check_shapes("a sum", &[from, to]);
        let (rows, columns) = flat(&[from, to]);
        let args = Args::new().mat(from).mat(to).long(rows).long(columns);
        let kernel = self.typed("add", &[from, to]);
        self.launch(kernel, over_values(rows, columns), &args)
    }

    /// y += scale·bias: y is (T, w), f32 or activations, the bias is f32, from its value `first` on.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn add_bias(
        &self,
        bias: &Tensor,
        first: usize,
        scale: f32,
        y: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (y.rows(), y.columns());
        check_tensor("bias", bias, Dtype::F32, first + columns);
        let args = Args::new()
            .tensor(bias, first)
            .float(scale)
            .mat(y)
            .long(rows)
            .long(columns);
        self.launch(
            self.typed("add_bias", &[y]),
            over_values(rows, columns),
            &args,
        )
    }

    /// d_bias += scale·Σ dy over rows: dy is (T, w) in f32 or activations, `d_bias` (1, w) in f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn bias_gradient(&self, dy: Mat<'_>, scale: f32, d_bias: Mat<'_>) -> Result<(), Error> {
        let (rows, columns) = (dy.rows(), dy.columns());
        check_mat("bias's gradient", d_bias, Dtype::F32, 1, columns);
        let args = Args::new()
            .mat(dy)
            .float(scale)
            .first(d_bias)
            .long(rows)
            .long(columns);
        let kernel = self.typed("bias_gradient", &[dy]);
        self.launch(kernel, over_columns(columns), &args)
    }
}
