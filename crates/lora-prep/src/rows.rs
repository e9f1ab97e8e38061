//! What is held of every row, in a few bytes each.
use lora_data::SplitName;

/// The rows that were encoded.
#[derive(Default)]
pub(crate) struct Rows {
    /// Whether each is kept.
    pub(crate) is_kept: Vec<bool>,
    /// The split that its file brings, for each that is kept.
    pub(crate) splits: Vec<Option<SplitName>>,
    /// The place of its source's name, and its number in the draw of a mixture; empty where nobody asks.
    pub(crate) sources: Vec<u32>,
    pub(crate) numbers: Vec<f64>,
}
