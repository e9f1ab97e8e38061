//! The laws of chance.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may fail loudly, in its helpers too
mod mask;
