//! Where the time goes, part by part: the device is waited for before and after each, so that a run that is profiled is
//! slower than one that is not.
use super::pass::Pass;
use crate::ProductPeak;
use half::bf16;
use lora_gpu::{Dtype, Error, Gpu, Product, Tensor};
use lora_kernels::profile::{Part, Profile};
use std::time::Instant;

/// Rows and columns of the product that others are measured beside, at most, and how often it is done.
const SIZE: usize = 8192;
const TIMES: usize = 8;

/// FLOP/s of a large product of activations, or of as large a one as there is memory for.
pub(super) fn product_peak(gpu: &Gpu) -> Result<ProductPeak, Error> {
    let free = gpu.free_memory()? as usize / (4 * gpu.dtype().bytes());
    let size = SIZE.min(free.isqrt() / 64 * 64).max(64);
    let values = size * size;
    let operands = [(); 3].map(|()| gpu.activations(values));
    let [a, b, c] = operands;
    let (a, b, c) = (a?, b?, c?);
    fill(gpu, &a)?;
    fill(gpu, &b)?;
    let [a, b, c] = [&a, &b, &c].map(|tensor| tensor.mat(size, size));
    let mut best = f64::INFINITY;
    for _ in 0..TIMES {
        let began = Instant::now();
        gpu.gemm(Product::new(a.n(), b.t(), c))?;
        gpu.synchronize()?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(ProductPeak {
        rate: 2.0 * (size as f64).powi(3) / best,
        device: gpu.identity().name.clone(),
    })
}

/// Values as weights have them: a card is faster at zeros.
fn fill(gpu: &Gpu, tensor: &Tensor) -> Result<(), Error> {
    let values = (0..1 << 19).map(|i| (i * 37 % 251) as f32 / 251.0 - 0.5);
    let bytes: Vec<u8> = match tensor.dtype() {
        Dtype::Bf16 => values
            .flat_map(|v| bf16::from_f32(v).to_ne_bytes())
            .collect(),
        _ => values.flat_map(f32::to_ne_bytes).collect(),
    };
    let len = tensor.len() * tensor.dtype().bytes();
    for first in (0..len).step_by(bytes.len()) {
        let part = &bytes[..bytes.len().min(len - first)];
        gpu.upload_bytes(part, tensor, first)?;
    }
    Ok(())
}

/// Runs `work` and counts its time, if a profile is asked for.
pub(super) fn timed<R>(
    profile: Option<&Profile>,
    gpu: &Gpu,
    part: Part,
    operations: u64,
    work: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    let Some(profile) = profile else {
        return work();
    };
    gpu.synchronize()?;
    profile.time(part, operations, || {
        let done = work()?;
        gpu.synchronize()?;
        Ok(done)
    })
}

impl Pass<'_> {
    /// Runs `work` and counts its time, if a profile is asked for.
    pub(super) fn timed<R>(
        &self,
        part: Part,
        operations: usize,
        work: impl FnOnce() -> Result<R, Error>,
    ) -> Result<R, Error> {
        timed(
            self.profile.as_deref(),
            self.gpu,
            part,
            operations as u64,
            work,
        )
    }
}
