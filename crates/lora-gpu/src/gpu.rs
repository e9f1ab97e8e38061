//! A device, and the type in which activations are held there.
use crate::device::{Device, Identity, Shared};
use crate::{Dtype, Error, Tensor};
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
}
