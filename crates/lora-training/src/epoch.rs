//! What the micro-batches of an epoch come to: for those who predict a run.
use crate::batches::Window;
use crate::trainable::RowSize;

/// Tokens of all micro-batches together, and of the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Of all.
    pub total: usize,
    /// Of the largest.
    pub most: usize,
}

impl Extent {
    fn add(&mut self, batch: usize) {
        self.total += batch;
        self.most = self.most.max(batch);
    }
}

/// An epoch, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EpochTotals {
    /// Steps of the optimiser.
    pub steps: usize,
    /// Micro-batches.
    pub batches: usize,
    /// Most micro-batches in a step.
    pub most_batches: usize,
    /// Tokens.
    pub tokens: Extent,
    /// Supervised tokens.
    pub supervised: Extent,
    /// Tokens that are computed: fewer where rows begin alike.
    pub computed: Extent,
    /// Tokens if rows were padded to the longest of their batch.
    pub padded: Extent,
}

impl EpochTotals {
    /// Of the steps of an epoch; `computed` says how many tokens of a batch are computed.
    pub fn of(windows: &[Window], sizes: &[RowSize], computed: impl Fn(&[usize]) -> usize) -> Self {
        let mut all = Self {
            steps: windows.len(),
            ..Self::default()
        };
        for window in windows {
            all.most_batches = all.most_batches.max(window.len());
            all.batches += window.len();
            for batch in window {
                let rows = batch.iter().map(|&row| sizes[row]);
                all.tokens.add(rows.clone().map(|row| row.tokens).sum());
                all.supervised
                    .add(rows.clone().map(|row| row.supervised).sum());
                all.computed.add(computed(batch));
                let longest = rows.map(|row| row.tokens).max().unwrap_or(0);
                all.padded.add(batch.len() * longest);
            }
        }
        all
    }
}
