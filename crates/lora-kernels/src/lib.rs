//! The training step's arithmetic: forward and backward pairs on f32 slices, scratch passed in, nothing allocated.
#![allow(unsafe_code)]
pub mod optim;
