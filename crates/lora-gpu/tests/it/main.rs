//! The kernels, run on the CPU in both precisions, against f64 arithmetic on the same rounded inputs; every backward pass
//! against finite differences of the forward one.
#![allow(clippy::expect_used)] // helpers outside of test functions expect what tests do

mod apart;
mod attend;
mod attention;
mod blocks;
mod conv;
mod delta;
mod device;
mod dora;
mod dropout;
mod elementwise;
mod experts;
mod gated;
mod gated_norm;
mod layer_inputs;
mod layer_norm;
mod loss;
mod norm;
mod optim;
mod plain;
mod rotary;
mod rows;
mod sequences;
mod ssd;
mod support;
mod tables;
