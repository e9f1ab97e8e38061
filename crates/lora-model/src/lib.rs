//! Decoders whose projections carry LoRA: one spec a family, the fused route, the composite route, generation.
//!
//! Files and formats live in lora-checkpoint, the LoRA config and adapter files in lora-core, arithmetic in lora-kernels.
mod base;
pub mod composite;
mod error;
pub mod fused;
mod identity;
mod packed;
mod peak;
mod route;
pub mod spec;

pub use base::Base;
pub use composite::{Composite, FullModel};
pub use error::Error;
pub use fused::{BatchSize, Footprint, Fused, Plan, footprint};
pub use identity::{TrainedOn, model_input};
pub use packed::{IGNORE, Packed};
pub use peak::{Peak, Process};
pub use route::{Dropout, Route, SequenceLoss};
