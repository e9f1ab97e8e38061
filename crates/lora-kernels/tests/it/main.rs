//! Every kernel against an f64 reference: its values, and its backward pass against finite differences.
#![allow(clippy::unwrap_used)] // a test may fail loudly, in its helpers too
mod attention;
mod balance;
mod clamped;
mod conv;
mod delta;
mod dora;
mod expert_factors;
mod experts;
mod harness;
mod invariants;
mod linear;
mod loss;
mod optim;
mod plain;
mod pointwise;
mod sinks;
mod ssd;
mod stack;
mod threads;
