//! Every kernel against an f64 reference: its values, and its backward pass against finite differences.
mod attention;
mod harness;
mod linear;
mod loss;
mod optim;
mod pointwise;
mod rng;
mod threads;
