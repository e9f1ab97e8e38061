//! The training step's arithmetic: forward and backward pairs on f32 slices, scratch passed in.
//!
//! No candle types, no files, no families live here. Every product goes through [`matmul`], whose results do not
//! depend on the number of threads; every kernel splits its outputs between threads, never its sums.
#![allow(unsafe_code)] // raw pointers into disjoint parts of one output, see `shared.rs` and `matmul.rs`

pub mod attention;
pub mod dora;
pub mod embedding;
pub mod glu;
pub mod layout;
pub mod linear;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optim;
pub mod rng;
pub mod rope;
mod shared;
pub mod stack;
pub mod vector;

pub use linear::Rows;
