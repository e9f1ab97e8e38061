//! A linear layer and the LoRA panels beside it. Frozen weights are widened panel by panel, never as a whole, and never get
//! a gradient; a weight that trains as a whole does.
use crate::matmul::{Mat, MatMut, matmul};
use rayon::prelude::*;

/// A matrix that lies somewhere in some storage dtype: (rows, columns) = (out, in).
pub trait Rows: Sync {
    /// Output features.
    fn rows(&self) -> usize;
    /// Input features.
    fn columns(&self) -> usize;
    /// Widens rows `first..` into `out`, a whole number of rows.
    fn read_rows(&self, first: usize, out: &mut [f32]);
    /// The matrix in place, if it is stored as f32.
    fn as_f32(&self) -> Option<&[f32]> {
        None
    }
}

/// Values of a widened panel: 1 MiB of f32, which stays in the second-level cache's reach.
const PANEL_VALUES: usize = 1 << 18;

/// Calls `work(first_row, rows, panel)` for each panel of `w` in order; `scratch` holds the widened rows.
fn for_panels(w: &dyn Rows, scratch: &mut Vec<f32>, mut work: impl FnMut(usize, usize, &[f32])) {
    let (rows, columns) = (w.rows(), w.columns());
    if let Some(values) = w.as_f32() {
        return work(0, rows, values);
    }
    let panel_rows = (PANEL_VALUES / columns.max(1)).clamp(16, 1024).min(rows);
    scratch.resize(scratch.len().max(panel_rows * columns), 0.0);
    for first in (0..rows).step_by(panel_rows) {
        let n = panel_rows.min(rows - first);
        let panel = &mut scratch[..n * columns];
        let share = n.div_ceil(rayon::current_num_threads() * 2).max(8);
        panel.par_chunks_mut(share * columns).enumerate().for_each(|(i, part)| w.read_rows(first + i * share, part));
        work(first, n, panel);
    }
}

/// y (T, out) = x (T, in) · Wᵀ, or y += with `accumulate`.
pub fn forward(w: &dyn Rows, x: &[f32], tokens: usize, y: &mut [f32], accumulate: bool, scratch: &mut Vec<f32>) {
    let (out, inn) = (w.rows(), w.columns());
    for_panels(w, scratch, |first, n, panel| {
        let dst = MatMut::strided(&mut y[first..], tokens, n, out);
        matmul(dst, accumulate, 1.0, Mat::new(x, tokens, inn), Mat::new(panel, n, inn).t(), true);
    });
}

/// dx (T, in) = dy (T, out) · W, or dx += with `accumulate`. Panels are added in order, whatever the threads.
pub fn backward(w: &dyn Rows, dy: &[f32], tokens: usize, dx: &mut [f32], accumulate: bool, scratch: &mut Vec<f32>) {
    let (out, inn) = (w.rows(), w.columns());
    for_panels(w, scratch, |first, n, panel| {
        let lhs = Mat::strided(&dy[first..], tokens, n, out);
        matmul(MatMut::new(dx, tokens, inn), accumulate || first > 0, 1.0, lhs, Mat::new(panel, n, inn), true);
    });
}

/// dW (out, in) += dyᵀ·x: only for a weight that trains as a whole.
pub fn weight_gradient(x: &[f32], dy: &[f32], tokens: usize, dw: &mut [f32], columns: usize) {
    let rows = dw.len() / columns;
    let (dy, x) = (Mat::new(dy, tokens, rows), Mat::new(x, tokens, columns));
    matmul(MatMut::new(dw, rows, columns), true, 1.0, dy.t(), x, true);
}

/// A matrix of f32 values in memory: one that trains as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Dense<'a> {
    /// (rows, columns) row-major.
    pub values: &'a [f32],
    /// Input features.
    pub columns: usize,
}

impl Rows for Dense<'_> {
    fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read_rows(&self, first: usize, out: &mut [f32]) {
        let at = first * self.columns;
        out.copy_from_slice(&self.values[at..at + out.len()]);
    }
    fn as_f32(&self) -> Option<&[f32]> {
        Some(self.values)
    }
}

/// Adds a bias (out) to every row of y (T, out).
pub fn add_bias(bias: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(bias.len()).for_each(|row| crate::vector::add(row, bias));
}

/// The trained factors of one adapted linear layer.
#[derive(Debug, Clone, Copy)]
pub struct Lora<'a> {
    /// A, (rank, in).
    pub a: &'a [f32],
    /// B, (out, rank).
    pub b: &'a [f32],
    /// r.
    pub rank: usize,
    /// s.
    pub scaling: f32,
}

impl Lora<'_> {
    /// u (T, r) = x·Aᵀ; y += s·u·Bᵀ (LoRA, Hu et al. 2021, eq. 3). `x` is the layer's input after dropout.
    pub fn forward(&self, x: &[f32], tokens: usize, u: &mut [f32], y: &mut [f32]) {
        let (inn, out) = (self.a.len() / self.rank, self.b.len() / self.rank);
        let (a, b) = (Mat::new(self.a, self.rank, inn), Mat::new(self.b, out, self.rank));
        matmul(MatMut::new(u, tokens, self.rank), false, 1.0, Mat::new(x, tokens, inn), a.t(), true);
        matmul(MatMut::new(y, tokens, out), true, self.scaling, Mat::new(u, tokens, self.rank), b.t(), true);
    }

    /// du (T, r) = s·dy·B; dB += s·dyᵀ·u; dA += duᵀ·x, where `u` and `x` are those of the forward pass.
    pub fn backward(
        &self,
        x: &[f32],
        u: &[f32],
        dy: &[f32],
        tokens: usize,
        du: &mut [f32],
        da: &mut [f32],
        db: &mut [f32],
    ) {
        let (inn, out) = (self.a.len() / self.rank, self.b.len() / self.rank);
        let (dy, u) = (Mat::new(dy, tokens, out), Mat::new(u, tokens, self.rank));
        let b = Mat::new(self.b, out, self.rank);
        matmul(MatMut::new(du, tokens, self.rank), false, self.scaling, dy, b, true);
        matmul(MatMut::new(db, out, self.rank), true, self.scaling, dy.t(), u, true);
        let du = Mat::new(du, tokens, self.rank);
        matmul(MatMut::new(da, self.rank, inn), true, 1.0, du.t(), Mat::new(x, tokens, inn), true);
    }

    /// dx (T, in) += s·dy·B·A, where A and B are constants; `du` (T, r) is scratch.
    pub fn backward_constant(&self, dy: &[f32], tokens: usize, du: &mut [f32], dx: &mut [f32]) {
        let out = self.b.len() / self.rank;
        let (dy, b) = (Mat::new(dy, tokens, out), Mat::new(self.b, out, self.rank));
        matmul(MatMut::new(du, tokens, self.rank), false, self.scaling, dy, b, true);
        self.backward_input(du, tokens, dx, true);
    }

    /// dx (T, in) = du·A, or dx += with `accumulate`.
    pub fn backward_input(&self, du: &[f32], tokens: usize, dx: &mut [f32], accumulate: bool) {
        let inn = self.a.len() / self.rank;
        let a = Mat::new(self.a, self.rank, inn);
        matmul(MatMut::new(dx, tokens, inn), accumulate, 1.0, Mat::new(du, tokens, self.rank), a, true);
    }
}
