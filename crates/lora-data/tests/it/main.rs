//! Integration tests of lora-data.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
mod order;
mod parquet_files;
