//! The training step's arithmetic: forward and backward pairs on f32 slices, scratch passed in.
//!
//! No candle types, no files, no families live here. Every product goes through [`gemm`], whose results do not depend on
//! the number of threads; every kernel splits its outputs between threads, never its sums.
#![allow(unsafe_code)] // vector instructions, and raw pointers into disjoint parts of one output (`shared.rs`)

pub mod attention;
mod dispatch;
pub mod dora;
pub mod embedding;
pub mod gemm;
pub mod glu;
pub mod half;
pub mod layout;
pub mod linear;
pub mod loss;
pub mod matmul;
pub mod memory;
pub mod norm;
pub mod optim;
pub mod profile;
pub mod rope;
mod shared;
pub mod stack;
pub mod vector;

pub use linear::Rows;
