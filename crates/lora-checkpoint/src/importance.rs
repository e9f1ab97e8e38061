//! What an error in each column of a weight matters: the mean square of the activations that meet it (llama.cpp's
//! importance matrix). Measuring it is a model's business.
use std::collections::BTreeMap;

/// A weight for each column of some matrices, by their GGUF names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Importance {
    columns: BTreeMap<String, Vec<f32>>,
}

impl Importance {
    /// Of the matrices named.
    pub fn new(columns: BTreeMap<String, Vec<f32>>) -> Self {
        Self { columns }
    }

    /// The weights of a matrix's columns.
    pub fn of(&self, tensor: &str) -> Option<&[f32]> {
        self.columns.get(tensor).map(Vec::as_slice)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.columns
            .iter()
            .map(|(name, weights)| (name.as_str(), weights.as_slice()))
    }
}
