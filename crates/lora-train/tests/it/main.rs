//! The real command on tiny models.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod balance;
mod chats;
mod errors;
mod full;
mod harness;
mod laws;
mod memory;
mod mistakes;
mod options;
mod outputs;
mod parity;
mod resume;
