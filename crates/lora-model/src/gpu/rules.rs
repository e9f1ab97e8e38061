//! Memory that layers with a rule use, beside what all layers do.
use super::mamba;
use lora_checkpoint::{Mixer, ModelConfig};
use lora_gpu::{Dtype, SsdShape, ssd_bytes};

/// Sizes of such layers; all 0 if no layer is one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    mamba: Option<SsdShape>,
    /// What the convolution before the rule runs over.
    columns: usize,
    /// What the rule gives.
    pub(super) values: usize,
    /// Norms of that.
    pub(super) norms: usize,
}

/// Pieces of memory.
pub(super) const PIECES: usize = 3;

impl Rules {
    /// Of a decoder.
    pub(super) fn of(config: &ModelConfig) -> Self {
        let has = |mixer| config.layers.iter().any(|layer| layer.mixer == mixer);
        match config.mamba.filter(|_| has(Mixer::Mamba)) {
            None => Self::default(),
            Some(own) => Self {
                mamba: Some(mamba::shape(own)),
                columns: own.columns(),
                values: own.values(),
                norms: own.groups,
            },
        }
    }

    /// For `rows` rows in so many chunks, of which `back` have a backward pass: what the convolution gives, its gradient, and
    /// what the rule works in.
    pub(super) fn pieces(
        self,
        (rows, back, chunks): (usize, usize, usize),
        activations: Dtype,
    ) -> [(Dtype, usize); PIECES] {
        let bytes = |shape| ssd_bytes(shape, chunks, activations, back > 0);
        [
            (activations, rows * self.columns),
            (activations, back * self.columns),
            (Dtype::U8, self.mamba.map_or(0, bytes)),
        ]
    }
}
