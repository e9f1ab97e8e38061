//! A linear layer and the LoRA factors beside it. Frozen weights are widened part by part into the panels of the product,
//! never as a whole, and never get a gradient; a weight that trains as a whole does.
use crate::gemm::{self, Gradient, Left, MatRight, Plain, Product, Right, Transposed, outer};
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
    /// Values of a row that can be read alone: parts begin at multiples of it and hold whole multiples, a power of two.
    fn unit(&self) -> usize;
    /// Widens the values from `column` on of one row into `out`.
    fn read_part(&self, row: usize, column: usize, out: &mut [f32]);
    /// The matrix in place, if it is stored as f32.
    fn as_f32(&self) -> Option<&[f32]> {
        None
    }
}

/// Memory of linear layers, kept between calls: packed operands.
#[derive(Debug, Default)]
pub struct Workspace {
    wide: Vec<f32>,
    narrow: Vec<f32>,
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

/// Packs `x` (T, in), an input of `w`, into `memory`.
fn pack<'m>(x: &[f32], tokens: usize, w: &dyn Rows, memory: &'m mut Vec<f32>) -> Left<'m> {
    Left::pack(Mat::new(x, tokens, w.columns()), w.unit(), memory, true)
}

/// y (T, out) = x (T, in) · Wᵀ, or y += with `accumulate`.
pub fn forward(
    w: &dyn Rows,
    x: &[f32],
    tokens: usize,
    y: &mut [f32],
    accumulate: bool,
    workspace: &mut Workspace,
) {
    if tokens <= gemm::FEW {
        return gemm::few_rows(w, x, tokens, y, accumulate);
    }
    let packed = pack(x, tokens, w, &mut workspace.wide);
    Product::new(MatMut::new(y, tokens, w.rows()), packed, &Transposed(w))
        .accumulate(accumulate)
        .run(true);
}

/// dx (T, in) = dy (T, out) · W, or dx += with `accumulate`.
pub fn backward(
    w: &dyn Rows,
    dy: &[f32],
    tokens: usize,
    dx: &mut [f32],
    accumulate: bool,
    workspace: &mut Workspace,
) {
    let (out, dy) = (w.rows(), &dy[..tokens * w.rows()]);
    for first in (0..out).step_by(SLICE) {
        let n = SLICE.min(out - first);
        let part = Mat::strided(&dy[first..], tokens, n, out);
        let packed = Left::pack(part, 1, &mut workspace.wide, true);
        let rows = Plain::of_rows(w, first..first + n);
        let to = MatMut::new(dx, tokens, w.columns());
        Product::new(to, packed, &rows)
            .accumulate(accumulate || first > 0)
            .run(true);
    }
}

/// Outputs whose gradients are packed at once: those of a head are too many.
const SLICE: usize = 8192;

/// Values that packing an operand of `tokens` rows takes, for a layer of these sizes.
#[must_use]
pub fn packed_len(tokens: usize, inn: usize, out: usize) -> usize {
    gemm::padded_rows(tokens) * inn.max(out.min(SLICE))
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
    fn unit(&self) -> usize {
        1
    }
    fn read_part(&self, row: usize, column: usize, out: &mut [f32]) {
        let at = row * self.columns + column;
        out.copy_from_slice(&self.values[at..at + out.len()]);
    }
    fn as_f32(&self) -> Option<&[f32]> {
        Some(self.values)
    }
}

/// Adds a bias (out) to every row of y (T, out).
pub fn add_bias(bias: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(bias.len())
        .for_each(|row| crate::vector::add(row, bias));
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
    fn a(&self) -> Mat<'_> {
        Mat::new(self.a, self.rank, self.a.len() / self.rank)
    }

    fn b(&self) -> Mat<'_> {
        Mat::new(self.b, self.b.len() / self.rank, self.rank)
    }

    /// u (T, r) = x·Aᵀ; y += s·u·Bᵀ. `x` is the layer's input after dropout.
    pub fn forward(&self, x: &[f32], tokens: usize, u: &mut [f32], y: &mut [f32]) {
        let (a, b) = (self.a(), self.b());
        matmul(
            MatMut::new(u, tokens, self.rank),
            false,
            1.0,
            Mat::new(x, tokens, a.columns()),
            a.t(),
            true,
        );
        matmul(
            MatMut::new(y, tokens, b.rows()),
            true,
            self.scaling,
            Mat::new(u, tokens, self.rank),
            b.t(),
            true,
        );
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
        let b = self.b();
        matmul(
            MatMut::new(du, tokens, self.rank),
            false,
            self.scaling,
            Mat::new(dy, tokens, b.rows()),
            b,
            true,
        );
        self.factor_gradients(x, u, dy, du, tokens, da, db);
    }

    /// dB (out, r) += s·dyᵀ·u; dA (r, in) += duᵀ·x.
    fn factor_gradients(
        &self,
        x: &[f32],
        u: &[f32],
        dy: &[f32],
        du: &[f32],
        tokens: usize,
        da: &mut [f32],
        db: &mut [f32],
    ) {
        let inn = self.a().columns();
        outer(
            dy,
            u,
            tokens,
            self.scaling,
            Gradient {
                values: db,
                feature_stride: self.rank,
                rank_stride: 1,
            },
        );
        outer(
            x,
            du,
            tokens,
            1.0,
            Gradient {
                values: da,
                feature_stride: 1,
                rank_stride: inn,
            },
        );
    }

    /// dx (T, in) += s·dy·B·A, where A and B are constants; `du` (T, r) is scratch.
    pub fn backward_constant(&self, dy: &[f32], tokens: usize, du: &mut [f32], dx: &mut [f32]) {
        let b = self.b();
        matmul(
            MatMut::new(du, tokens, self.rank),
            false,
            self.scaling,
            Mat::new(dy, tokens, b.rows()),
            b,
            true,
        );
        self.backward_input(du, tokens, dx, true);
    }

    /// dx (T, in) = du·A, or dx += with `accumulate`.
    pub fn backward_input(&self, du: &[f32], tokens: usize, dx: &mut [f32], accumulate: bool) {
        let a = self.a();
        matmul(
            MatMut::new(dx, tokens, a.columns()),
            accumulate,
            1.0,
            Mat::new(du, tokens, self.rank),
            a,
            true,
        );
    }
}

/// A frozen weight with LoRA factors beside it, and the input of both.
#[derive(Clone, Copy)]
pub struct Adapted<'a> {
    /// W, (out, in).
    pub weight: &'a dyn Rows,
    /// A and B.
    pub lora: Lora<'a>,
    /// x, (T, in).
    pub x: &'a [f32],
    /// T.
    pub tokens: usize,
}

/// Where [`Adapted::backward`] writes.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of u, (T, rank): scratch.
    pub u: &'a mut [f32],
    /// Of A, added to.
    pub a: &'a mut [f32],
    /// Of B, added to.
    pub b: &'a mut [f32],
}

impl Adapted<'_> {
    /// u (T, r) = seen·Aᵀ; y (T, out) = x·Wᵀ + s·u·Bᵀ, or y += it with `accumulate` (LoRA, Hu et al. 2021, eq. 3). `seen` is
    /// the input after dropout, where there is dropout.
    pub fn forward(
        self,
        seen: Option<&[f32]>,
        u: &mut [f32],
        y: &mut [f32],
        accumulate: bool,
        Workspace { wide, narrow }: &mut Workspace,
    ) {
        let Self {
            weight,
            lora,
            x,
            tokens,
        } = self;
        let (x, a) = (pack(x, tokens, weight, wide), MatRight::new(lora.a().t()));
        let to_u = MatMut::new(u, tokens, lora.rank);
        match seen {
            None => Product::new(to_u, x, &a).run(true),
            Some(seen) => {
                let seen = Left::pack(Mat::new(seen, tokens, lora.a().columns()), 1, narrow, true);
                Product::new(to_u, seen, &a).run(true);
            }
        }
        let u = Left::pack(Mat::new(u, tokens, lora.rank), 1, narrow, true);
        let b = MatRight::scaled(lora.b().t(), lora.scaling);
        both(
            MatMut::new(y, tokens, weight.rows()),
            accumulate,
            (x, &Transposed(weight)),
            (u, &b),
        );
    }

    /// The way back, without dropout: du (T, r) = s·dy·B; dx (T, in) = dy·W + du·A, or dx += it with `accumulate`;
    /// dB += s·dyᵀ·u; dA += duᵀ·x.
    pub fn backward(
        self,
        u: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        accumulate: bool,
        to: Gradients<'_>,
        Workspace { wide, narrow }: &mut Workspace,
    ) {
        let Self {
            weight,
            lora,
            x,
            tokens,
        } = self;
        let packed = Left::pack(Mat::new(dy, tokens, weight.rows()), 1, wide, true);
        let b = MatRight::scaled(lora.b(), lora.scaling);
        Product::new(MatMut::new(to.u, tokens, lora.rank), packed, &b).run(true);
        let du = Left::pack(Mat::new(to.u, tokens, lora.rank), 1, narrow, true);
        let a = MatRight::new(lora.a());
        both(
            MatMut::new(dx, tokens, weight.columns()),
            accumulate,
            (packed, &Plain::new(weight)),
            (du, &a),
        );
        lora.factor_gradients(x, u, dy, to.u, tokens, to.a, to.b);
    }
}

/// dst = the sum of two products, or dst += it: in one pass if the second inner dimension is small.
fn both(
    dst: MatMut<'_>,
    accumulate: bool,
    first: (Left<'_>, &dyn Right),
    second: (Left<'_>, &dyn Right),
) {
    if second.0.is_one_block() {
        return Product::new(dst, first.0, first.1)
            .accumulate(accumulate)
            .and(second.0, second.1)
            .run(true);
    }
    let (rows, columns, stride) = (dst.rows(), dst.columns(), dst.row_stride());
    // SAFETY: the same elements, used after the first product is done with them.
    let again = unsafe { MatMut::from_raw(dst.pointer(), rows, columns, stride) };
    Product::new(dst, first.0, first.1)
        .accumulate(accumulate)
        .run(true);
    Product::new(again, second.0, second.1)
        .accumulate(true)
        .run(true);
}
