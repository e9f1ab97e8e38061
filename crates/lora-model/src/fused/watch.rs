//! What meets the linear layers: for each column of their inputs, the sum of squares over all tokens (llama.cpp's importance
//! matrix is its mean).
use crate::spec::Projection;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Σ x² of each column of the input of each linear layer, by (layer, projection), and the tokens summed over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputSquares {
    /// Tokens.
    pub tokens: u64,
    /// One sum a column.
    pub sums: BTreeMap<(usize, Projection), Vec<f64>>,
}

impl InputSquares {
    fn add(&mut self, place: (usize, Projection), input: &[f32], columns: usize) {
        let sums = self.sums.entry(place).or_insert_with(|| vec![0.0; columns]);
        for row in input.chunks_exact(columns) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
    }
}

/// Where a pass leaves what it saw; nothing unless somebody watches.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Option<Arc<Mutex<InputSquares>>>);

impl Watch {
    /// Adds to `squares` for as long as [`Self::ended`] is not called.
    pub(super) fn begun(squares: InputSquares) -> Self {
        Self(Some(Arc::new(Mutex::new(squares))))
    }

    /// What was seen.
    pub(super) fn ended(self) -> InputSquares {
        let seen = self.0.unwrap_or_default();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut seen)
    }

    /// Sees the input (T, in) of a linear layer.
    pub(super) fn see(&self, place: (usize, Projection), input: &[f32], columns: usize) {
        if let Some(seen) = &self.0 {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.add(place, input, columns);
        }
    }
}
