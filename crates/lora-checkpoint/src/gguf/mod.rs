//! GGUF files: the strict parser (`parse`), what its metadata says about a decoder (`config`, `rope`),
//! and tensor names (`names`).
//!
//! Specification: ggml's docs/gguf.md. Versions 2 and 3, little-endian.

pub(crate) mod config;
pub(crate) mod names;
pub(crate) mod parse;
pub(crate) mod rope;
mod value;

pub use value::Value;

use crate::ModelConfig;
use crate::view::hugging_face_row;

/// llama.cpp's name of the weight or bias of a linear layer, the embedding or the head:
/// `model.layers.0.self_attn.q_proj.weight` → `blk.0.attn_q.weight`.
pub fn tensor_name(hugging_face_name: &str) -> Option<String> {
    names::part(hugging_face_name).map(names::tensor)
}

/// Rows of a matrix with as many rows as the named weight, in the order that GGUF has them: in some architectures q and k
/// are permuted within each head, all others stay as they are.
///
/// # Panics
/// If `values` is no whole number of rows of `columns`.
pub fn permute_rows(config: &ModelConfig, hugging_face_name: &str, values: &[f32], columns: usize) -> Vec<f32> {
    let permuted = names::part(hugging_face_name).is_some_and(names::is_query_or_key);
    if !(permuted && config.facts().gguf_permuted) {
        return values.to_vec();
    }
    assert_eq!(values.len() % columns, 0, "{} values are no whole number of rows of {columns}", values.len());
    let row = |stored: usize| &values[hugging_face_row(stored, config.head_dim) * columns..][..columns];
    (0..values.len() / columns).flat_map(row).copied().collect()
}
