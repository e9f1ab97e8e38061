//! For tests only: fixtures and golden cases, and runs of the tools as a user runs them.
//!
//! It depends on no other crate of the workspace, so that any of them can use it in its tests. Snapshots of what all the
//! tools say are in its own tests (`tests/it`), their texts in `tests/snapshots` at the top of the repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may fail loudly, in its helpers too
mod family;
mod fixtures;
pub mod hub;
mod noise;
mod process;
mod told;

pub use family::{FAMILIES, write_family};
pub use fixtures::{GoldenRow, floats, golden, golden_rows, json, repository, tiny_chat};
pub use noise::Noise;
pub use process::{assert_code, ignores_hangups, piped, receipt, stderr};
pub use told::Told;
