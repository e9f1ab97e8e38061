//! A device, and the type in which activations are held there.
use crate::device::{Batch, Device, Gemm, Identity, Shared};
use crate::{Dtype, Error, Mat, Tensor, Write};
use std::sync::Arc;

/// The type of weights and activations on the device. Sums, the hidden state between layers, and gradients are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// bfloat16.
    Bf16,
    /// f32 throughout: for checks.
    F32,
}

/// A device that computes in a precision.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(crate) device: Shared,
    pub(crate) precision: Precision,
}

impl Gpu {
    /// Computes on `device`.
    pub fn new(device: impl Device + Sync + 'static, precision: Precision) -> Self {
        Self {
            device: Arc::new(device),
            precision,
        }
    }

    /// What the device is called.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.device.identity()
    }

    /// The type of weights and activations.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        match self.precision {
            Precision::Bf16 => Dtype::Bf16,
            Precision::F32 => Dtype::F32,
        }
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn free_memory(&self) -> Result<u64, Error> {
        self.device.free_memory()
    }

    /// Memory for `len` values; what it holds is undefined.
    ///
    /// # Errors
    /// [`Error::Memory`] if so much is not free.
    pub fn alloc(&self, dtype: Dtype, len: usize) -> Result<Tensor, Error> {
        let bytes = len.saturating_mul(dtype.bytes()).max(16);
        Ok(Tensor::new(self.device.alloc(bytes)?, dtype, len))
    }

    /// Memory for activations.
    ///
    /// # Errors
    /// [`Error::Memory`] if so much is not free.
    pub fn activations(&self, len: usize) -> Result<Tensor, Error> {
        self.alloc(self.dtype(), len)
    }

    /// A copy of values on the device.
    ///
    /// # Errors
    /// If so much memory is not free, or the driver fails.
    pub fn uploaded<T: bytemuck::NoUninit>(
        &self,
        dtype: Dtype,
        values: &[T],
    ) -> Result<Tensor, Error> {
        let tensor = self.alloc(dtype, values.len())?;
        self.upload(values, &tensor, 0)?;
        Ok(tensor)
    }

    /// Copies values into a tensor, from its value `first` on.
    ///
    /// # Errors
    /// If the driver fails.
    ///
    /// # Panics
    /// If they are not of the tensor's type, or don't fit.
    pub fn upload<T: bytemuck::NoUninit>(
        &self,
        values: &[T],
        to: &Tensor,
        first: usize,
    ) -> Result<(), Error> {
        let size = to.dtype().bytes();
        assert_eq!(size_of::<T>(), size, "values of another type");
        assert!(
            first
                .checked_add(values.len())
                .is_some_and(|end| end <= to.len()),
            "{} values from {first} on don't fit into {}",
            values.len(),
            to.len()
        );
        let address = to.address() + (first * size) as u64;
        self.device.upload(bytemuck::cast_slice(values), address)
    }

    /// Copies bytes into a tensor of any type, from its byte `first` on.
    ///
    /// # Errors
    /// If the driver fails.
    ///
    /// # Panics
    /// If they don't fit.
    pub fn upload_bytes(&self, bytes: &[u8], to: &Tensor, first: usize) -> Result<(), Error> {
        let room = to.len() * to.dtype().bytes();
        assert!(
            first
                .checked_add(bytes.len())
                .is_some_and(|end| end <= room),
            "{} bytes from {first} on don't fit into {room}",
            bytes.len()
        );
        self.device.upload(bytes, to.address() + first as u64)
    }

    /// Copies the first values of a tensor back.
    ///
    /// # Errors
    /// If the driver fails, or something failed that was queued before.
    ///
    /// # Panics
    /// If they are not of the tensor's type, or it holds fewer.
    pub fn download<T: bytemuck::Pod>(&self, from: &Tensor, to: &mut [T]) -> Result<(), Error> {
        assert_eq!(
            size_of::<T>(),
            from.dtype().bytes(),
            "values of another type"
        );
        assert!(
            to.len() <= from.len(),
            "{} values of {}",
            to.len(),
            from.len()
        );
        self.device
            .download(from.address(), bytemuck::cast_slice_mut(to))
    }

    /// Fills a tensor's first `len` values with zero.
    ///
    /// # Errors
    /// If the driver fails.
    ///
    /// # Panics
    /// If it holds fewer.
    pub fn zero(&self, tensor: &Tensor, len: usize) -> Result<(), Error> {
        assert!(len <= tensor.len(), "{len} values of {}", tensor.len());
        self.device
            .zero(tensor.address(), len * tensor.dtype().bytes())
    }

    /// Copies a tensor's first `len` values to another of the same type.
    ///
    /// # Errors
    /// If the driver fails.
    ///
    /// # Panics
    /// If one holds fewer, or the types differ.
    pub fn copy(&self, from: &Tensor, to: &Tensor, len: usize) -> Result<(), Error> {
        assert_eq!(from.dtype(), to.dtype(), "a copy between types");
        assert!(len <= from.len() && len <= to.len(), "{len} values");
        self.device
            .copy(from.address(), to.address(), len * from.dtype().bytes())
    }

    /// Waits until all that was queued is done.
    ///
    /// # Errors
    /// If something failed.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.device.synchronize()
    }

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
