//! What people see of the tools, and what one tool sees of another.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may fail loudly, in its helpers too
mod architecture;
mod circles;
mod describe;
mod errors;
mod frame;
mod imports;
mod pipes;
mod tables;
