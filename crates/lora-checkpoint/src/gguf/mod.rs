//! GGUF files: the strict parser (`parse`), what its metadata says about a decoder (`config`, `rope`),
//! where weights lie (`entries`, `xielu`), models in several files (`split`), names (`names`) and the order of rows (`order`).
//!
//! Specification: ggml's docs/gguf.md. Versions 2 and 3, little-endian.

pub(crate) mod config;
pub(crate) mod entries;
pub(crate) mod experts;
mod family;
mod file;
mod folded;
mod keys;
pub(crate) mod names;
mod order;
pub(crate) mod parse;
mod predictors;
pub(crate) mod recurrent;
pub(crate) mod rope;
pub(crate) mod rope_written;
pub(crate) mod split;
mod unread;
mod value;
pub(crate) mod variants;
pub(crate) mod xielu;

pub use file::GgufFile;
pub(crate) use folded::folded;
pub use order::{
    applies_lora, architecture, permute_columns, restore_columns, rows_from_gguf, rows_in_gguf,
    tensor_name, tensors_of, weight_names,
};
pub(crate) use order::{arrangement, halves};
pub use value::Value;
pub(crate) use value::scalar_bytes;
