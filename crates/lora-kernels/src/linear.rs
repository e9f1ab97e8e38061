//! Linear layers. Frozen weights are widened part by part into the panels of the product, never as a whole, and never get
//! a gradient; a weight that trains as a whole does.
use crate::gemm::{self, Left, Plain, Product, Transposed};
use crate::matmul::matmul;
use crate::matrix::{Mat, Place, Write};
use crate::rows::Rows;
use rayon::prelude::*;

/// Memory of linear layers, kept between calls: packed operands.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Inputs of a weight, or gradients of its outputs.
    pub(crate) wide: Vec<f32>,
    /// Those of the factors beside it.
    pub(crate) narrow: Vec<f32>,
}

impl Workspace {
    /// Values held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wide.len() + self.narrow.len()
    }

    /// True before the first product.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// y (T, out) = x (T, in) · Wᵀ.
///
/// # Panics
/// If the shapes do not fit.
pub fn forward(weight: &dyn Rows, x: Mat<'_>, y: Place<'_>, workspace: &mut Workspace) {
    if x.rows() <= gemm::FEW {
        return gemm::few_rows(weight, x, y);
    }
    let packed = Left::pack(x, weight.unit(), &mut workspace.wide);
    Product::new(packed, &Transposed(weight)).run(y);
}

/// The same by this thread alone, with `memory` of [`packed_len`] values.
///
/// # Panics
/// As [`forward`].
pub(crate) fn forward_alone(weight: &dyn Rows, x: Mat<'_>, y: Place<'_>, memory: &mut [f32]) {
    let packed = Left::pack_alone(x, weight.unit(), memory);
    Product::new(packed, &Transposed(weight)).alone().run(y);
}

/// dx (T, in) = dy (T, out) · W by this thread alone, with `memory` of [`packed_len`] values.
///
/// # Panics
/// If the shapes do not fit, or there are more outputs than are packed at once.
pub(crate) fn backward_alone(weight: &dyn Rows, dy: Mat<'_>, dx: Place<'_>, memory: &mut [f32]) {
    let packed = Left::pack_alone(dy, 1, memory);
    Product::new(packed, &Plain::new(weight)).alone().run(dx);
}

/// dx (T, in) = dy (T, out) · W.
///
/// # Panics
/// If the shapes do not fit.
pub fn backward(weight: &dyn Rows, dy: Mat<'_>, mut dx: Place<'_>, workspace: &mut Workspace) {
    let out_features = dy.columns();
    assert!(
        weight.rows() == out_features,
        "linear backward: {out_features} gradients for {} outputs",
        weight.rows()
    );
    assert!(
        dy.column_stride() == 1,
        "linear backward: dy is a transpose"
    );
    if dy.rows() == 0 {
        return;
    }
    for first in (0..out_features).step_by(SLICE) {
        let n = SLICE.min(out_features - first);
        let part = Mat::strided(&dy.values()[first..], dy.rows(), n, dy.row_stride());
        let packed = Left::pack(part, 1, &mut workspace.wide);
        let rows = Plain::of_rows(weight, first..first + n);
        let write = if first > 0 { Write::Add } else { dx.write() };
        Product::new(packed, &rows).run(dx.reborrow().with(write));
    }
}

/// Outputs whose gradients are packed at once: those of a head are too many.
pub(crate) const SLICE: usize = 8192;

/// Values that packing an operand of `tokens` rows takes, for a layer of these sizes.
#[must_use]
pub fn packed_len(tokens: usize, in_features: usize, out_features: usize) -> usize {
    gemm::padded_rows(tokens) * in_features.max(out_features.min(SLICE))
}

/// dW (out, in) += dyᵀ·x, from x (T, in) and dy (T, out): only for a weight that trains as a whole.
///
/// # Panics
/// If the shapes do not fit.
pub fn weight_gradient(x: Mat<'_>, dy: Mat<'_>, dw: &mut [f32]) {
    let to = Place::new(dw, dy.columns(), x.columns());
    matmul(dy.t(), x, 1.0, to.adding());
}

/// Adds a bias (out) to every row of y (T, out).
pub fn add_bias(bias: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(bias.len())
        .for_each(|row| crate::vector::add(row, bias));
}
