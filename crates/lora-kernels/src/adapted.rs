//! A frozen linear layer and LoRA's factors beside it, in one pass over the output.
use crate::gemm::{Left, MatRight, Plain, Product, Right, Transposed};
use crate::linear::Workspace;
use crate::lora::{Gradients, Lora};
use crate::matrix::{Mat, Place};
use crate::rows::Rows;

/// A frozen weight with LoRA factors beside it, and the input of both.
#[derive(Clone, Copy)]
pub struct Adapted<'a> {
    /// W, (out, in).
    pub weight: &'a dyn Rows,
    /// A and B.
    pub lora: Lora<'a>,
    /// x, (T, in).
    pub x: Mat<'a>,
}

impl Adapted<'_> {
    /// u (T, r) = seen·Aᵀ; y (T, out) = x·Wᵀ + s·u·Bᵀ (LoRA, Hu et al. 2021, eq. 3). `seen` (T, in) is the input after
    /// dropout, where there is dropout.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward(
        self,
        seen: Option<Mat<'_>>,
        u: &mut [f32],
        y: Place<'_>,
        workspace: &mut Workspace,
    ) {
        let Self { weight, lora, x } = self;
        let Workspace { wide, narrow } = workspace;
        let tokens = x.rows();
        let x = Left::pack(x, weight.unit(), wide);
        let a = MatRight::new(lora.a.t());
        let to_u = Place::new(u, tokens, lora.rank());
        match seen {
            None => Product::new(x, &a).run(to_u),
            Some(seen) => Product::new(Left::pack(seen, 1, narrow), &a).run(to_u),
        }
        let u = Left::pack(Mat::new(u, tokens, lora.rank()), 1, narrow);
        let b = MatRight::scaled(lora.b.t(), lora.scaling);
        both((x, &Transposed(weight)), (u, &b), y);
    }

    /// u (T, r) = x·Aᵀ alone, as the forward pass has it without dropout.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn inner(self, u: &mut [f32], workspace: &mut Workspace) {
        let Self { weight, lora, x } = self;
        let tokens = x.rows();
        let x = Left::pack(x, weight.unit(), &mut workspace.wide);
        let a = MatRight::new(lora.a.t());
        Product::new(x, &a).run(Place::new(u, tokens, lora.rank()));
    }

    /// The way back, without dropout: du (T, r) = s·dy·B; dx (T, in) = dy·W + du·A; dB += s·dyᵀ·u; dA += duᵀ·x. `u` (T, r)
    /// is that of the forward pass.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn backward(
        self,
        u: Mat<'_>,
        dy: Mat<'_>,
        dx: Place<'_>,
        to: Gradients<'_>,
        workspace: &mut Workspace,
    ) {
        let Self { weight, lora, x } = self;
        let Workspace { wide, narrow } = workspace;
        let tokens = x.rows();
        let packed = Left::pack(dy, 1, wide);
        let b = MatRight::scaled(lora.b, lora.scaling);
        Product::new(packed, &b).run(Place::new(to.u, tokens, lora.rank()));
        let du = Left::pack(Mat::new(to.u, tokens, lora.rank()), 1, narrow);
        let a = MatRight::new(lora.a);
        both((packed, &Plain::new(weight)), (du, &a), dx);
        lora.factor_gradients(x, u, dy, to);
    }
}

/// The sum of two products: in one pass if the second inner dimension is small.
fn both(first: (Left<'_>, &dyn Right), second: (Left<'_>, &dyn Right), mut to: Place<'_>) {
    if second.0.is_one_block() {
        return Product::new(first.0, first.1)
            .and(second.0, second.1)
            .run(to);
    }
    Product::new(first.0, first.1).run(to.reborrow());
    Product::new(second.0, second.1).run(to.adding());
}
