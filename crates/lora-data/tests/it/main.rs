//! Integration tests of lora-data.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
mod base;
mod encode;
mod formats;
mod layouts;
mod learned;
mod manifest;
mod order;
mod parquet_files;
mod prompts;
mod properties;
mod records;
mod sources;
mod templates;

use lora_testkit::Noise;
