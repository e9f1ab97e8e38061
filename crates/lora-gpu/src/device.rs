//! What a device must be able to do. Two do: `cuda`, and for tests `on_cpu`.
use crate::dtype::Dtype;
use crate::error::Error;
use std::fmt;
use std::sync::Arc;

/// What a device is called, for receipts and messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The card, e.g. `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// The driver's version, e.g. `CUDA 13.0`.
    pub driver: String,
    /// Bytes of memory.
    pub total_memory: u64,
}

/// Memory on a device; given back when dropped.
pub struct Memory {
    /// Where it begins, as the device counts.
    pub address: u64,
    /// Its length.
    pub bytes: usize,
    /// Gives it back when dropped.
    pub owner: Box<dyn Send + Sync>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes at {:#x})", self.bytes, self.address)
    }
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    /// An address on the device, in bytes.
    Address(u64),
    /// `int`.
    Int(i32),
    /// `unsigned long long`.
    Long(u64),
    /// `float`.
    Float(f32),
}

/// Blocks of a launch, and threads of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block, in x; a multiple of 32.
    pub threads: u32,
}

/// A matrix of a product: row-major, its rows `stride` values apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Of its first value.
    pub address: u64,
    /// Type of its values.
    pub dtype: Dtype,
    /// Values from one row to the next.
    pub stride: usize,
    /// It is used as its transpose.
    pub transposed: bool,
}

/// Several products of the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// How many.
    pub count: usize,
    /// Values from one left operand to the next.
    pub a: usize,
    /// Values from one right operand to the next.
    pub b: usize,
    /// Values from one result to the next.
    pub c: usize,
}

/// c (m, n) = alpha · a (m, k) · b (k, n) + beta · c, sums in f32. a and b are of one type, c of that or f32. With beta = 0
/// nothing of c is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Values of each sum.
    pub k: usize,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of what stands in the result.
    pub beta: f32,
    /// Left operand, (m, k), or (k, m) if transposed.
    pub a: Matrix,
    /// Right operand, (k, n), or (n, k) if transposed.
    pub b: Matrix,
    /// Result; never transposed.
    pub c: Matrix,
    /// Once for each of a batch.
    pub batch: Batch,
}

/// A device. Operations are done in the order of the calls; `upload` and `download` are over when they return. Addresses and
/// sizes are the caller's promise: [`Gpu`](crate::Gpu) checks them.
pub trait Device: Send + fmt::Debug {
    /// What it is called.
    fn identity(&self) -> &Identity;

    /// Bytes that are free.
    ///
    /// # Errors
    /// If the driver fails.
    fn free_memory(&self) -> Result<u64, Error>;

    /// Takes memory; what it holds is undefined.
    ///
    /// # Errors
    /// [`Error::Memory`] if so much is not free.
    fn alloc(&self, bytes: usize) -> Result<Memory, Error>;

    /// Copies bytes to an address on the device.
    ///
    /// # Errors
    /// If the driver fails.
    fn upload(&self, from: &[u8], to: u64) -> Result<(), Error>;

    /// Copies bytes back, after all that was queued before.
    ///
    /// # Errors
    /// If the driver fails, or something failed that was queued before.
    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), Error>;

    /// Fills bytes with zero.
    ///
    /// # Errors
    /// If the driver fails.
    fn zero(&self, address: u64, bytes: usize) -> Result<(), Error>;

    /// Copies bytes on the device.
    ///
    /// # Errors
    /// If the driver fails.
    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error>;

    /// Queues a kernel by its name in `kernels`.
    ///
    /// # Errors
    /// If there is no such kernel, or the driver fails.
    fn launch(&self, kernel: &'static str, grid: Grid, args: &[Arg]) -> Result<(), Error>;

    /// Queues a product.
    ///
    /// # Errors
    /// If the driver fails.
    fn gemm(&self, gemm: &Gemm) -> Result<(), Error>;

    /// Waits until all that was queued is done.
    ///
    /// # Errors
    /// If something failed.
    fn synchronize(&self) -> Result<(), Error>;
}

/// A device that several hold.
pub(crate) type Shared = Arc<dyn Device + Sync>;
