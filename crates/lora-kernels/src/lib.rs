//! The training step's arithmetic: forward and backward pairs on f32 slices, scratch passed in.
//!
//! No candle types, no files, no families live here. Every product goes through [`gemm`], whose results do not depend on
//! the number of threads; every kernel splits its outputs between threads, never its sums.
//!
//! # What the unsafe code relies on
//! Each premise is established once, by whoever makes the value, and by safe code alone; hot loops rely on it.
//! - **Inside its slice.** [`matrix::Mat`] and [`matrix::Place`] are checked against their slices when they are made, without
//!   overflow; a packed operand is a slice of whole panels; operands that are read where they lie are checked for whole
//!   tiles (`gemm::direct`). Tiles and transpositions read and write nothing else.
//! - **One task a value.** Threads write parts of one output through `shared::SharedMut`. A `Place` is dense, so its rows
//!   can't overlap; `gemm::split` cuts it into tasks that share no element; a [`layout::Layout`] gives each row of queries to
//!   one segment, and attention's backward pass takes layouts only whose keys are rows of their own trees. With debug
//!   assertions `SharedMut` checks the promise value by value, whatever the timing of the threads.
//! - **The machine's instructions.** Kernels of an instruction set are reached through `gemm::isa` and `dispatch` alone,
//!   which look for it first.
//! - **Nothing of the caller's is trusted.** [`Rows`] is a safe trait: sizes are asked once and checked against the operands,
//!   and what an implementation says afterwards can only make a bounds check fail.
#![allow(unsafe_code)] // vector instructions, and parts of one output for several threads (`shared.rs`)

pub mod activation;
pub mod adapted;
pub mod attention;
mod block;
pub mod conv;
pub mod delta;
mod dispatch;
pub mod dora;
pub mod embedding;
pub mod experts;
pub mod gate;
pub mod gemm;
pub mod glu;
pub mod half;
pub mod layer_norm;
pub mod layout;
pub mod linear;
pub mod lora;
pub mod loss;
pub mod matmul;
pub mod matrix;
pub mod memory;
pub mod norm;
pub mod optim;
pub mod peak;
pub mod profile;
pub mod rope;
pub mod rows;
mod shared;
pub mod short_conv;
pub mod ssd;
pub mod stack;
pub mod vector;

pub use rows::Rows;
