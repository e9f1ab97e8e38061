//! Integration tests of lora-checkpoint.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod absent;
mod config;
mod families;
mod folder;
mod gguf;
mod hostile;
mod support;
mod tokenizer;

use std::path::PathBuf;

/// A golden case's folder.
fn golden(case: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/golden"
    ))
    .join(case)
}
