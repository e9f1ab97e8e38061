//! What is held of every row, in a few bytes each.
use lora_data::SplitName;

/// The rows that were encoded.
#[derive(Default)]
pub(crate) struct Rows {
    /// Whether each is kept.
    pub(crate) is_kept: Vec<bool>,
    /// The split that its file brings, for each that is kept.
    pub(crate) splits: Vec<Option<SplitName>>,
    /// The place of its source's name; empty while all are of the first.
    sources: Vec<u32>,
    /// Its number in the draw of a mixture; empty where nobody asks.
    pub(crate) numbers: Vec<f64>,
}

impl Rows {
    /// One more that is kept.
    pub(crate) fn push(&mut self, split: Option<SplitName>, source: usize) {
        if source > 0 || !self.sources.is_empty() {
            self.sources.resize(self.splits.len(), 0);
            self.sources.push(source as u32);
        }
        self.splits.push(split);
    }

    /// The place of a row's source.
    pub(crate) fn source(&self, row: usize) -> usize {
        self.sources.get(row).map_or(0, |source| *source as usize)
    }

    /// Those of all rows.
    pub(crate) fn sources(&self) -> impl Iterator<Item = usize> {
        (0..self.splits.len()).map(|row| self.source(row))
    }
}
