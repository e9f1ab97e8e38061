//! What others ask of a weight in GGUF: its name, and the order of its rows.
use super::names;
use crate::ModelConfig;
use crate::view::{hugging_face_row, stored_row};
use crate::weights::Part;

/// llama.cpp's name of a weight of a model: `model.layers.0.self_attn.q_proj.weight` → `blk.0.attn_q.weight`.
pub fn tensor_name(config: &ModelConfig, hugging_face_name: &str) -> Option<String> {
    part(config, hugging_face_name).map(|part| names::tensor(config.facts(), part))
}

fn part(config: &ModelConfig, hugging_face_name: &str) -> Option<Part> {
    let (part, ..) = config
        .parts()
        .into_iter()
        .find(|(_, name, _)| name == hugging_face_name)?;
    Some(part)
}

/// llama.cpp's `general.architecture` of a model.
pub fn architecture(config: &ModelConfig) -> &'static str {
    config.facts().gguf.architecture
}

/// Rows of a matrix with as many rows as the named weight, in the order that GGUF has them: in some architectures q and k
/// are permuted within each head, all others stay as they are.
///
/// # Panics
/// If `values` is no whole number of rows of `columns`.
pub fn permute_rows(
    config: &ModelConfig,
    hugging_face_name: &str,
    values: &[f32],
    columns: usize,
) -> Vec<f32> {
    reorder(config, hugging_face_name, values, columns, hugging_face_row)
}

/// The way back: rows in the order of transformers, from GGUF's.
///
/// # Panics
/// If `values` is no whole number of rows of `columns`.
pub fn restore_rows(
    config: &ModelConfig,
    hugging_face_name: &str,
    values: &[f32],
    columns: usize,
) -> Vec<f32> {
    reorder(config, hugging_face_name, values, columns, stored_row)
}

fn reorder(
    config: &ModelConfig,
    hugging_face_name: &str,
    values: &[f32],
    columns: usize,
    source: fn(usize, usize) -> usize,
) -> Vec<f32> {
    let permuted = part(config, hugging_face_name).is_some_and(names::is_query_or_key);
    if !(permuted && config.facts().gguf.permuted) {
        return values.to_vec();
    }
    assert_eq!(
        values.len() % columns,
        0,
        "{} values are no whole number of rows of {columns}",
        values.len()
    );
    let row = |row: usize| &values[source(row, config.head_dim) * columns..][..columns];
    (0..values.len() / columns).flat_map(row).copied().collect()
}
