//! Rows of the vocabulary that train alone: PEFT's `trainable_token_indices`, and where such rows lie.
use std::ops::Range;

/// PEFT's `trainable_token_indices`: tokens whose rows of the embedding (and of a head) train alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TokenIndices {
    /// None.
    #[default]
    None,
    /// Of the input embedding.
    Embedding(Vec<usize>),
    /// By the end of a module's path, in the order of the file.
    Modules(Vec<(String, Vec<usize>)>),
}

impl TokenIndices {
    /// All of them, whatever module they are of, ascending.
    pub fn all(&self) -> Vec<usize> {
        let mut all: Vec<usize> = match self {
            Self::None => Vec::new(),
            Self::Embedding(rows) => rows.clone(),
            Self::Modules(named) => named.iter().flat_map(|(_, rows)| rows.clone()).collect(),
        };
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Rows of an embedding or a head that train, and stand in the place of the base's.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedRows {
    /// The modules whose weight they are rows of: one, or an embedding and the head that is tied to it. The first one
    /// names them in the adapter's file.
    pub paths: Vec<String>,
    /// Their numbers (ids of tokens), in the order of the file.
    pub rows: Vec<usize>,
    /// Values in a row.
    pub width: usize,
    /// Their place in the flat parameters, (rows, width) row-major.
    pub range: Range<usize>,
    /// Row and place among `rows`, ascending by row.
    by_row: Vec<(usize, usize)>,
}

impl TrainedRows {
    /// Rows of these modules, whose place in the flat parameters is not chosen yet.
    pub(crate) fn new(paths: Vec<String>, rows: Vec<usize>, width: usize) -> Self {
        let mut by_row: Vec<(usize, usize)> = rows.iter().copied().zip(0..).collect();
        by_row.sort_unstable();
        Self {
            paths,
            rows,
            width,
            range: 0..0,
            by_row,
        }
    }

    /// True if they are rows of this module's weight.
    pub fn are_of(&self, path: &str) -> bool {
        self.paths.iter().any(|own| own == path)
    }

    /// The place of a row among those that train.
    pub fn place_of(&self, row: usize) -> Option<usize> {
        let found = self.by_row.binary_search_by_key(&row, |&(own, _)| own);
        found.ok().map(|at| self.by_row[at].1)
    }

    /// Row and place of those that train among `rows`.
    pub fn among(&self, rows: Range<usize>) -> &[(usize, usize)] {
        let from = self.by_row.partition_point(|&(row, _)| row < rows.start);
        let to = self.by_row.partition_point(|&(row, _)| row < rows.end);
        &self.by_row[from..to.max(from)]
    }

    /// Puts them in the place of the base's, of whose rows `first..` are `values`; true if there were any. `own` are the
    /// values of all that train here.
    ///
    /// # Panics
    /// If `values` is no whole number of rows.
    pub fn put(&self, own: &[f32], first: usize, values: &mut [f32]) -> bool {
        let width = self.width;
        let found = self.among(first..first + values.len() / width.max(1));
        for &(row, place) in found {
            let at = (row - first) * width;
            values[at..at + width].copy_from_slice(&own[place * width..(place + 1) * width]);
        }
        !found.is_empty()
    }
}
