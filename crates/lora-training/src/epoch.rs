//! What the micro-batches of an epoch come to: for those who predict a run.
use crate::batches::Window;
use crate::trainable::RowSize;
use lora_model::BatchSize;

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
    /// The largest micro-batch, part by part.
    pub largest: BatchSize,
    /// Tokens if rows were padded to the longest of their batch.
    pub padded: Extent,
}

impl EpochTotals {
    /// Of the steps of an epoch; `size` tells that of some rows, as it is computed.
    pub fn of(windows: &[Window], sizes: &[RowSize], size: impl Fn(&[usize]) -> BatchSize) -> Self {
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
                let size = size(batch);
                all.computed.add(size.tokens);
                all.largest = all.largest.cover(size);
                let longest = rows.map(|row| row.tokens).max().unwrap_or(0);
                all.padded.add(batch.len() * longest);
            }
        }
        all
    }
}
