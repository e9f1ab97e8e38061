//! A card of NVIDIA's: its driver, NVRTC and cuBLAS are found when the program runs.
//!
//! `places` and `libraries` find them, `context` holds the card and its stream, `memory` the copies, `compile`, `cache` and
//! `module` the kernels, `call` and `product` the products. Whatever is missing on a machine is one [`Error::Unavailable`].
mod cache;
mod call;
mod compile;
mod context;
mod libraries;
mod memory;
mod module;
mod places;
mod product;

use crate::device::{Arg, Device, Gemm, Grid, Identity, Memory};
use crate::{Error, Gpu, Precision};
use context::{Context, Driver};
use cudarc::driver::sys as cu;
use memory::Staging;
use module::Module;
use product::Products;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The oldest compute capability that multiplies bfloat16, that of an A100.
const BF16: u32 = 80;

/// The cards that are there; `cuda` counts them in this order.
///
/// # Errors
/// [`Error::Unavailable`] if there is none, or no driver.
pub fn available() -> Result<Vec<Identity>, Error> {
    let driver = Driver::open()?;
    let count = driver.count()?;
    (0..count).map(|ordinal| driver.identity(ordinal)).collect()
}

/// The card with this number, computing in `precision`.
///
/// # Errors
/// [`Error::Unavailable`] if there is no such card, or a part of what it takes is not installed.
pub fn cuda(ordinal: usize, precision: Precision) -> Result<Gpu, Error> {
    let driver = Driver::open()?;
    let count = driver.count()?;
    if ordinal >= count {
        return Err(Error::Unavailable {
            message: format!("there is no card {ordinal}: the driver has {count}, counted from 0"),
            hint: Some("`--device cuda` takes card 0; `nvidia-smi -L` lists them".to_owned()),
        });
    }
    let identity = driver.identity(ordinal)?;
    let capability = driver.capability(ordinal)?;
    if precision == Precision::Bf16 && capability < BF16 {
        return Err(Error::Unavailable {
            message: format!(
                "{} has compute capability {}.{}, and bfloat16 takes 8.0",
                identity.name,
                capability / 10,
                capability % 10
            ),
            hint: Some("use `--device cpu`".to_owned()),
        });
    }
    let major = driver.major();
    let context = Arc::new(Context::new(driver, ordinal)?);
    Ok(Gpu::new(
        Cuda {
            identity,
            module: Module::load(&context, precision, capability, major)?,
            products: Mutex::new(Products::new(&context, major)?),
            staging: Mutex::new(Staging::new(&context)?),
            context,
        },
        precision,
    ))
}

/// A card in use.
struct Cuda {
    identity: Identity,
    module: Module,
    products: Mutex<Products>,
    staging: Mutex<Staging>,
    context: Arc<Context>,
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cuda({})", self.identity.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device for Cuda {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn free_memory(&self) -> Result<u64, Error> {
        Ok(self.context.memory()?.0)
    }

    fn alloc(&self, bytes: usize) -> Result<Memory, Error> {
        memory::alloc(&self.context, bytes)
    }

    fn upload(&self, from: &[u8], to: u64) -> Result<(), Error> {
        lock(&self.staging).upload(from, to)
    }

    fn download(&self, from: u64, to: &mut [u8]) -> Result<(), Error> {
        lock(&self.staging).download(from, to)
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        self.context.current()?;
        // SAFETY: the bytes lie in the card's memory, as the caller promises.
        let queued = unsafe { cu::cuMemsetD8Async(address, 0, bytes, self.context.stream()) };
        self.context
            .check(queued, || format!("fill {bytes} bytes with zero"))
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        self.context.current()?;
        // SAFETY: both lie in the card's memory, as the caller promises.
        let queued = unsafe { cu::cuMemcpyDtoDAsync_v2(to, from, bytes, self.context.stream()) };
        self.context.check(queued, || format!("copy {bytes} bytes"))
    }

    fn launch(&self, kernel: &'static str, grid: Grid, args: &[Arg]) -> Result<(), Error> {
        self.module.launch(kernel, grid, args)
    }

    fn gemm(&self, gemm: &Gemm) -> Result<(), Error> {
        lock(&self.products).multiply(gemm)
    }

    fn synchronize(&self) -> Result<(), Error> {
        self.context.synchronize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miette::Diagnostic;

    /// On a machine without a driver: a line and a way out. On another, cards that have names.
    #[test]
    fn cards_are_listed_or_there_is_a_way_out() {
        match available() {
            Ok(cards) => assert!(cards.iter().all(|card| !card.name.is_empty())),
            Err(error) => {
                let hint = error.help().expect("a hint").to_string();
                assert!(matches!(error, Error::Unavailable { .. }), "{error}");
                assert_eq!(error.to_string().lines().count(), 1);
                assert!(hint.contains("--device cpu"), "{hint}");
                let other = cuda(0, Precision::Bf16).unwrap_err();
                assert_eq!(other.to_string(), error.to_string());
            }
        }
    }
}
