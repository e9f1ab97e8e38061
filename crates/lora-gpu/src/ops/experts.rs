//! Rows of a mixture of experts: k of each token, sorted by expert.
use super::{Args, THREADS, block_a_row, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor, Write};

/// Where the rows of tokens lie, and what each counts for.
#[derive(Debug, Clone, Copy)]
pub struct Slots<'t> {
    /// The row of each of a token's slots, (T·k), u32. That rows exist is the caller's promise.
    pub places: &'t Tensor,
    /// k.
    pub chosen: usize,
    /// The weight of each row, (T·k) in f32; all 1 without.
    pub weights: Option<&'t Tensor>,
}

impl Gpu {
    /// x\[t\] = scale · Σ weight\[r\]·rows\[r\] over the rows r of token t, in the order of its slots, or added to it: `rows` is
    /// (T·k, H) of activations, x is (T, H) in f32 or activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn combine(
        &self,
        rows: Mat<'_>,
        slots: Slots<'_>,
        scale: f32,
        x: Mat<'_>,
        write: Write,
    ) -> Result<(), Error> {
        let (tokens, columns) = (x.rows(), x.columns());
        let count = tokens * slots.chosen;
        check_mat("rows of experts", rows, self.dtype(), count, columns);
        check_tensor("places", slots.places, Dtype::U32, count);
        let args = Args::new()
            .mat(rows)
            .tensor(slots.places, 0)
            .int(slots.chosen);
        let args = match slots.weights {
            Some(weights) => {
                check_tensor("weights", weights, Dtype::F32, count);
                args.tensor(weights, 0)
            }
            None => args.null(),
        };
        let args = args
            .float(scale)
            .mat(x)
            .int(usize::from(write == Write::Add))
            .long(tokens)
            .long(columns);
        let kernel = self.typed("combine", &[x]);
        self.launch(kernel, over_values(tokens, columns), &args)
    }

    /// The gradient of each row's weight, Σ d·x over the row, goes to `dots` (T·k); then d is multiplied by its row's weight.
    /// d and x are (T·k, I) of activations, `weights` is (T·k) in f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn weigh(
        &self,
        d: Mat<'_>,
        x: Mat<'_>,
        weights: &Tensor,
        dots: &Tensor,
    ) -> Result<(), Error> {
        let (rows, columns) = (d.rows(), d.columns());
        check_mat("gradient", d, self.dtype(), rows, columns);
        check_mat("what it meets", x, self.dtype(), rows, columns);
        check_tensor("weights", weights, Dtype::F32, rows);
        check_tensor("their gradients", dots, Dtype::F32, rows);
        let args = Args::new()
            .mat(d)
            .mat(x)
            .tensor(weights, 0)
            .tensor(dots, 0)
            .int(columns);
        let grid = block_a_row(rows, 1, columns, THREADS);
        self.launch("weigh", grid, &args)
    }

    /// x is multiplied by its rows' weights: x is (T·k, w) of activations, `weights` is (T·k) in f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn weigh_rows(&self, x: Mat<'_>, weights: &Tensor) -> Result<(), Error> {
        let (rows, columns) = (x.rows(), x.columns());
        check_mat("rows of experts", x, self.dtype(), rows, columns);
        check_tensor("weights", weights, Dtype::F32, rows);
        let args = Args::new()
            .mat(x)
            .tensor(weights, 0)
            .long(rows)
            .long(columns);
        self.launch("weigh_rows", over_values(rows, columns), &args)
    }

    /// y += the bias of each row: y is (T·k, w) of activations, biases are f32 (E, w), and `which` says the row of them, u32
    /// (T·k). That it is there is the caller's promise.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn add_bias_of(&self, biases: &Tensor, which: &Tensor, y: Mat<'_>) -> Result<(), Error> {
        let (rows, columns) = (y.rows(), y.columns());
        check_mat("rows of experts", y, self.dtype(), rows, columns);
        check_tensor("biases", biases, Dtype::F32, columns);
        check_tensor("experts of rows", which, Dtype::U32, rows);
        let args = Args::new()
            .tensor(biases, 0)
            .tensor(which, 0)
            .mat(y)
            .long(rows)
            .long(columns);
        self.launch("add_bias_of", over_values(rows, columns), &args)
    }

    /// The part of [`weigh`](Self::weigh)'s gradients that passes the biases of what was weighed: dots += Σ d·bias of each
    /// row, for d (T·k, w) of activations that meets no weight yet.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn add_bias_dots(
        &self,
        biases: &Tensor,
        which: &Tensor,
        d: Mat<'_>,
        dots: &Tensor,
    ) -> Result<(), Error> {
        let (rows, columns) = (d.rows(), d.columns());
        check_mat("gradient", d, self.dtype(), rows, columns);
        check_tensor("biases", biases, Dtype::F32, columns);
        check_tensor("experts of rows", which, Dtype::U32, rows);
        check_tensor("gradients of weights", dots, Dtype::F32, rows);
        let args = Args::new()
            .tensor(biases, 0)
            .tensor(which, 0)
            .mat(d)
            .tensor(dots, 0)
            .int(columns);
        let grid = block_a_row(rows, 1, columns, THREADS);
        self.launch("add_bias_dots", grid, &args)
    }
}
