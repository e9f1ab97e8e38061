//! All chance of the tools: generators keyed by what they are for, so that no draw depends on another, and the same
//! values come out on every machine, for any number of threads and after a resumed run.
//!
//! - [`Generator`]: values one after the other: uniform, normal, a permutation.
//! - [`Mask`]: dropout, a value of its own for each element.
//! - [`share`]: a hash of a name as a share of 1, for splits.
mod generator;
mod mask;
mod share;

pub use generator::Generator;
pub use mask::{Mask, dropout_keep};
pub use share::share;
