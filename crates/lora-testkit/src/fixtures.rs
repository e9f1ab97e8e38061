//! Where fixtures lie, and what golden cases hold.
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A path below the repository's root.
pub fn repository(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The embedded model: a whole Hugging Face folder with tokenizer and chat template.
pub fn tiny_chat() -> PathBuf {
    repository("data/tiny-chat")
}

/// A path in `tests/fixtures/golden`: a case of the real PEFT (`llama_dora`), or what lies in it (`llama_dora/base`).
pub fn golden(path: impl AsRef<Path>) -> PathBuf {
    repository("tests/fixtures/golden").join(path)
}

/// A JSON file.
///
/// # Panics
/// When it is none.
pub fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The f32 tensors of a safetensors file, by name: shape and values.
///
/// # Panics
/// When the file is not one.
pub fn floats(path: &Path) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut found: Vec<_> = file
        .iter()
        .filter(|(_, view)| view.dtype() == Dtype::F32)
        .map(|(name, view)| {
            let values = view.data().chunks_exact(4);
            let values = values.map(|value| f32::from_le_bytes(value.try_into().unwrap()));
            (name.to_owned(), view.shape().to_vec(), values.collect())
        })
        .collect();
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

/// One row of a golden case, without its padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldenRow {
    /// Token ids.
    pub ids: Vec<u32>,
    /// As many labels; −100 is not supervised.
    pub labels: Vec<i32>,
}

/// The rows of a golden case (`input_ids`, `attention_mask` and `labels` of its `golden.safetensors`).
///
/// # Panics
/// When there is no such case.
pub fn golden_rows(case: &str) -> Vec<GoldenRow> {
    let bytes = std::fs::read(golden(case).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let column = |name: &str| -> Vec<i64> {
        let tensor = file.tensor(name).unwrap();
        let values = tensor.data().chunks_exact(8);
        values
            .map(|value| i64::from_le_bytes(value.try_into().unwrap()))
            .collect()
    };
    let (ids, mask, labels) = (
        column("input_ids"),
        column("attention_mask"),
        column("labels"),
    );
    let width = file.tensor("input_ids").unwrap().shape()[1];
    (0..ids.len())
        .step_by(width)
        .map(|start| {
            let length = mask[start..start + width].iter().sum::<i64>() as usize;
            let row = start..start + length;
            GoldenRow {
                ids: ids[row.clone()].iter().map(|&id| id as u32).collect(),
                labels: labels[row].iter().map(|&label| label as i32).collect(),
            }
        })
        .collect()
}
