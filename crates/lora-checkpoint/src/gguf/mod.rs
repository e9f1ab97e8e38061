//! GGUF files: the strict parser (`parse`), what its metadata says about a decoder (`config`), and tensor names (`names`).
//!
//! Specification: ggml's docs/gguf.md. Versions 2 and 3, little-endian.

pub(crate) mod config;
pub(crate) mod names;
pub(crate) mod parse;
mod value;

pub use value::Value;
