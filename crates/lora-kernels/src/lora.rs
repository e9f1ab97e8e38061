//! The factors of LoRA (Hu et al. 2021), forward and backward: what they add to a linear layer.
use crate::gemm::{Gradient, outer};
use crate::matmul::matmul;
use crate::matrix::{Mat, Place};

/// The trained factors of one adapted linear layer.
#[derive(Debug, Clone, Copy)]
pub struct Lora<'a> {
    /// A, (rank, in).
    pub a: Mat<'a>,
    /// B, (out, rank).
    pub b: Mat<'a>,
    /// s.
    pub scaling: f32,
}

/// Where the gradients of the factors go.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of u, (T, rank): scratch.
    pub u: &'a mut [f32],
    /// Of A, added to.
    pub a: &'a mut [f32],
    /// Of B, added to.
    pub b: &'a mut [f32],
}

impl Lora<'_> {
    /// r.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.a.rows()
    }

    /// Input features.
    #[must_use]
    pub fn in_features(&self) -> usize {
        self.a.columns()
    }

    /// Output features.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.b.rows()
    }

    /// u (T, r) = x·Aᵀ; y (T, out) += s·u·Bᵀ. `x` is the layer's input after dropout.
    pub fn forward(&self, x: Mat<'_>, u: &mut [f32], y: Place<'_>) {
        matmul(x, self.a.t(), 1.0, Place::new(u, x.rows(), self.rank()));
        let u = Mat::new(u, x.rows(), self.rank());
        matmul(u, self.b.t(), self.scaling, y.adding());
    }

    /// du (T, r) = s·dy·B; dB += s·dyᵀ·u; dA += duᵀ·x, where x (T, in) and u (T, r) are those of the forward pass.
    pub fn backward(&self, x: Mat<'_>, u: Mat<'_>, dy: Mat<'_>, to: Gradients<'_>) {
        self.inner_gradient(dy, to.u);
        self.factor_gradients(x, u, dy, to);
    }

    /// du (T, r) = s·dy·B.
    fn inner_gradient(&self, dy: Mat<'_>, du: &mut [f32]) {
        let to = Place::new(du, dy.rows(), self.rank());
        matmul(dy, self.b, self.scaling, to);
    }

    /// dB (out, r) += s·dyᵀ·u; dA (r, in) += duᵀ·x, from the gradient of u.
    pub(crate) fn factor_gradients(&self, x: Mat<'_>, u: Mat<'_>, dy: Mat<'_>, to: Gradients<'_>) {
        let db = Place::new(to.b, self.out_features(), self.rank());
        outer(dy, u, self.scaling, Gradient::ByFeature(db));
        let du = Mat::new(to.u, x.rows(), self.rank());
        let da = Place::new(to.a, self.rank(), self.in_features());
        outer(x, du, 1.0, Gradient::ByRank(da));
    }

    /// dx (T, in) += s·dy·B·A, where A and B are constants; `du` (T, r) is scratch.
    pub fn backward_constant(&self, dy: Mat<'_>, du: &mut [f32], dx: Place<'_>) {
        self.inner_gradient(dy, du);
        self.backward_input(Mat::new(du, dy.rows(), self.rank()), dx.adding());
    }

    /// dx (T, in) = du (T, r)·A.
    pub fn backward_input(&self, du: Mat<'_>, dx: Place<'_>) {
        matmul(du, self.a, 1.0, dx);
    }
}
