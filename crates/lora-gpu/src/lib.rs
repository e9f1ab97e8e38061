//! The training step's arithmetic on a GPU, in kernels of forward and backward pairs.
//!
//! A [`Gpu`] is a [`Device`] and the type in which activations are held there. [`Tensor`]s are memory on it, [`Mat`]s are
//! matrices in them; every operation is a method of [`Gpu`] that checks its sizes (`ops`). Nothing of a driver is linked:
//! `cuda` finds the driver, NVRTC and cuBLAS when the program runs, and compiles `kernels/*.cu` for the card that is there.
//! With the feature `on-cpu`, which tests use, the same source runs on the CPU.
//!
//! Operations are queued in order and are done when something is downloaded. No operation adds floating-point numbers in an
//! order that depends on time, so that the same calls give the same bytes on the same card.
#![allow(unsafe_code)] // the driver's functions, and kernels compiled for the CPU

mod cuda;
mod device;
mod dtype;
mod error;
mod gpu;
mod kernels;
#[cfg(feature = "on-cpu")]
mod on_cpu;
mod ops;
mod product;
mod tensor;
mod write;

pub use cuda::{available, cuda};
pub use device::{Arg, Batch, Device, Gemm, Grid, Identity, Matrix, Memory};
pub use dtype::Dtype;
pub use error::Error;
pub use gpu::{Gpu, Precision};
#[cfg(feature = "on-cpu")]
pub use on_cpu::OnCpu;
pub use ops::{
    Activation, AdamStep, Affine, Apart, Attended, Attention, AttentionTiles, ChunkSteps, Chunks,
    Clamped, DeltaGradients, DeltaInputs, DeltaShape, DoraFactors, GatedNorm, Keys, Mask, Pairs,
    Plain, Rotary, RowLosses, Scores, Segment, Slots, Spans, SsdGradients, SsdInputs, SsdLearned,
    SsdShape, TableRows, Taps, Widen, attends, chunks_of, delta_bytes, ssd_bytes,
};
pub use product::{Operand, Product};
pub use tensor::{Mat, Tensor};
pub use write::Write;
