//! Products of matrices, which are the device's own.
use crate::device::{Batch, Gemm};
use crate::{Dtype, Error, Gpu, Mat, Write};

/// A matrix as it is, or its transpose.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'t> {
    mat: Mat<'t>,
    transposed: bool,
}

impl<'t> Mat<'t> {
    /// As an operand of a product.
    #[must_use]
    pub fn n(self) -> Operand<'t> {
        Operand {
            mat: self,
            transposed: false,
        }
    }

    /// Its transpose as an operand of a product.
    #[must_use]
    pub fn t(self) -> Operand<'t> {
        Operand {
            mat: self,
            transposed: true,
        }
    }
}

impl Operand<'_> {
    fn shape(self) -> (usize, usize) {
        if self.transposed {
            (self.mat.columns(), self.mat.rows())
        } else {
            (self.mat.rows(), self.mat.columns())
        }
    }
}

/// A product and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Product<'t> {
    /// Left operand.
    pub a: Operand<'t>,
    /// Right operand.
    pub b: Operand<'t>,
    /// Where it goes.
    pub c: Mat<'t>,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of what stands there; 0: nothing of it is read.
    pub beta: f32,
}

impl<'t> Product<'t> {
    /// c = a · b.
    #[must_use]
    pub fn new(a: Operand<'t>, b: Operand<'t>, c: Mat<'t>) -> Self {
        Self {
            a,
            b,
            c,
            alpha: 1.0,
            beta: 0.0,
        }
    }

    /// Added to what stands there.
    #[must_use]
    pub fn adding(self) -> Self {
        Self { beta: 1.0, ..self }
    }

    /// In the place of what stands there, or added to it.
    #[must_use]
    pub fn written(self, write: Write) -> Self {
        match write {
            Write::Replace => self,
            Write::Add => self.adding(),
        }
    }

    /// Times a factor.
    #[must_use]
    pub fn times(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }
}

impl Gpu {
    /// c = alpha · op(a) · op(b) + beta · c.
    ///
    /// # Errors
    /// If the driver fails.
    ///
    /// # Panics
    /// If the shapes or types don't fit.
    pub fn gemm(&self, product: Product<'_>) -> Result<(), Error> {
        self.gemm_batched(
            product,
            Batch {
                count: 1,
                a: 0,
                b: 0,
                c: 0,
            },
        )
    }

    /// The same for each of a batch: operand i lies i · stride values behind the first. Operands of later members lie in the
    /// tensors, too.
    ///
    /// # Errors
    /// If the driver fails.
    ///
    /// # Panics
    /// If the shapes or types don't fit.
    pub fn gemm_batched(&self, product: Product<'_>, batch: Batch) -> Result<(), Error> {
        let Product {
            a,
            b,
            c,
            alpha,
            beta,
        } = product;
        let (m, k) = a.shape();
        let (k2, n) = b.shape();
        assert!(
            k == k2 && (m, n) == (c.rows(), c.columns()),
            "a product ({m}, {k}) · ({k2}, {n}) into ({}, {})",
            c.rows(),
            c.columns()
        );
        let (ta, tc) = (a.mat.dtype(), c.dtype());
        assert!(
            ta == b.mat.dtype()
                && matches!(ta, Dtype::F32 | Dtype::Bf16)
                && (tc == ta || tc == Dtype::F32),
            "a product of {ta:?} and {:?} into {tc:?}",
            b.mat.dtype()
        );
        let last = batch.count.saturating_sub(1);
        a.mat.check_shift(last * batch.a);
        b.mat.check_shift(last * batch.b);
        c.check_shift(last * batch.c);
        if m == 0 || n == 0 || batch.count == 0 {
            return Ok(());
        }
        self.device.gemm(&Gemm {
            m,
            n,
            k,
            alpha,
            beta,
            a: a.mat.operand(a.transposed),
            b: b.mat.operand(b.transposed),
            c: c.operand(false),
            batch,
        })
    }
}
