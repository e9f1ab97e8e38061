//! Tests of lora-model from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod balance;
mod checks;
mod composite;
mod full;
mod fused;
mod generating;
mod golden;
mod gpu;
mod gpu_beside_cpu;
mod gpu_memory;
mod gpu_mixtures;
mod mixtures;
mod parameters;
mod reference;
mod sinks;
mod states;
