//! The real command on real files, as a user runs it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
mod bad_input;
mod divided;
mod harness;
mod help;
mod hints;
mod idle;
mod laws;
mod masks;
mod show;
mod sources;
mod stats;
mod streams;
mod threads;
mod written;
