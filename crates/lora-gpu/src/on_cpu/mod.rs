//! A device for tests: its memory is the machine's, its kernels are compiled for the CPU by `build.rs`.
//!
//! It says what a GPU would not: memory holds NaN until it is written, whatever is copied or multiplied must lie inside of one
//! allocation, writes beyond one are found after the launch, and a barrier that not all threads reach is an error.
//! `memory` holds the allocations, `product` the products.
mod memory;
mod product;

use crate::device::{Arg, Device, Gemm, Grid, Identity, Memory};
use crate::{Error, Gpu, Precision};
use memory::Allocations;
use std::ffi::{CStr, c_char, c_uint, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What is wrong, or null. Arguments are grid, threads, a letter for each argument, and their addresses.
type Run =
    unsafe extern "C" fn(*const c_uint, c_uint, *const c_char, *const *mut c_void) -> *const c_char;

/// A line of the tables in `kernels/cuda_on_cpu.h`; the last one is null.
#[repr(C)]
struct Kernel {
    name: *const c_char,
    run: Option<Run>,
}

unsafe extern "C" {
    static lora_gpu_kernels_bf16: Kernel;
    static lora_gpu_kernels_f32: Kernel;
}

/// Kernels use memory of their own for the block that runs, so that one runs at a time.
static RUNNING: Mutex<()> = Mutex::new(());

/// The CPU in place of a GPU; slow, and meant for tests.
pub struct OnCpu {
    identity: Identity,
    precision: Precision,
    memory: Arc<Allocations>,
}

impl OnCpu {
    /// With kernels of one precision, and 16 GiB of memory.
    #[must_use]
    pub fn new(precision: Precision) -> Self {
        Self::with_memory(precision, 16 << 30)
    }

    /// With so many bytes of memory.
    #[must_use]
    pub fn with_memory(precision: Precision, bytes: u64) -> Self {
        Self {
            identity: Identity {
                name: "CPU in place of a GPU".to_owned(),
                driver: "none".to_owned(),
                total_memory: bytes,
            },
            precision,
            memory: Arc::new(Allocations::new(bytes)),
        }
    }

    /// A [`Gpu`] on such a device.
    #[must_use]
    pub fn gpu(precision: Precision) -> Gpu {
        Gpu::new(Self::new(precision), precision)
    }

    fn find(&self, name: &str) -> Option<Run> {
        let mut line: *const Kernel = match self.precision {
            Precision::Bf16 => &raw const lora_gpu_kernels_bf16,
            Precision::F32 => &raw const lora_gpu_kernels_f32,
        };
        // SAFETY: the tables are constants of C++, end in a line of nulls, and their names in a zero.
        unsafe {
            while let Some(run) = (*line).run {
                if CStr::from_ptr((*line).name).to_bytes() == name.as_bytes() {
                    return Some(run);
                }
                line = line.add(1);
            }
        }
        None
    }
}

impl fmt::Debug for OnCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnCpu({:?})", self.precision)
    }
}

/// An argument's letter, as `kernels/cuda_on_cpu.h` says them, and its bytes from the lowest on.
fn parameter(arg: &Arg) -> (u8, [u8; 8]) {
    let word = |bytes: [u8; 4]| {
        let mut eight = [0; 8];
        eight[..4].copy_from_slice(&bytes);
        eight
    };
    match *arg {
        Arg::Address(address) => (b'p', address.to_ne_bytes()),
        Arg::Int(value) => (b'i', word(value.to_ne_bytes())),
        Arg::Long(value) => (b'l', value.to_ne_bytes()),
        Arg::Float(value) => (b'f', word(value.to_ne_bytes())),
    }
}

impl Device for OnCpu {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn free_memory(&self) -> Result<u64, Error> {
        Ok(self.memory.free())
    }

    fn alloc(&self, bytes: usize) -> Result<Memory, Error> {
        Allocations::take(&self.memory, bytes)
    }

    fn upload(&self, from: &[u8], to: u64) -> Result<(), Error> {
        self.memory.check("upload", to, from.len())?;
        // SAFETY: the bytes lie in an allocation of ours, which no slice of Rust's refers to.
        unsafe { std::ptr::copy(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), Error> {
        self.memory.check("download", from, to.len())?;
        // SAFETY: as above.
        unsafe { std::ptr::copy(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<(), Error> {
        self.memory.check("zero", address, bytes)?;
        // SAFETY: as above.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        self.memory.check("copy from", from, bytes)?;
        self.memory.check("copy to", to, bytes)?;
        // SAFETY: as above.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn launch(&self, kernel: &'static str, grid: Grid, args: &[Arg]) -> Result<(), Error> {
        let failed = |message: String| Error::Failed {
            action: format!("launch {kernel}"),
            message,
        };
        let run = self
            .find(kernel)
            .ok_or_else(|| failed("there is no such kernel".to_owned()))?;
        let (mut letters, mut values): (Vec<u8>, Vec<_>) = args.iter().map(parameter).unzip();
        letters.push(0);
        let pointers: Vec<*mut c_void> = values
            .iter_mut()
            .map(|value| value.as_mut_ptr().cast())
            .collect();
        let _one = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the kernel reads as many arguments as there are letters, or none if they are not its own; what they
        // point to is the caller's promise. What is wrong is a string that lives until the next launch.
        let wrong = unsafe {
            let letters = letters.as_ptr().cast();
            let wrong = run(
                grid.blocks.as_ptr(),
                grid.threads,
                letters,
                pointers.as_ptr(),
            );
            (!wrong.is_null()).then(|| CStr::from_ptr(wrong).to_string_lossy().into_owned())
        };
        match wrong {
            Some(wrong) => Err(failed(wrong)),
            None => self.memory.check_margins().map_err(failed),
        }
    }

    fn gemm(&self, gemm: &Gemm) -> Result<(), Error> {
        product::check(gemm, &self.memory)?;
        // SAFETY: all operands lie in allocations of ours.
        unsafe { product::multiply(gemm) };
        Ok(())
    }

    fn synchronize(&self) -> Result<(), Error> {
        Ok(())
    }
}
