//! Memory that layers with a rule use, beside what all layers do.
use super::rule_layers::{delta_shape, mamba_shape};
use lora_checkpoint::{Mixer, ModelConfig};
use lora_gpu::{DeltaShape, Dtype, SsdShape, delta_bytes, ssd_bytes};

/// Sizes of such a layer; all 0 if it is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    mamba: Option<SsdShape>,
    delta: Option<DeltaShape>,
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
    /// Of a layer.
    pub(super) fn of(config: &ModelConfig, layer: usize) -> Self {
        let has = |mixer| config.layers[layer].mixer == mixer;
        if let Some(own) = config.mamba.filter(|_| has(Mixer::Mamba)) {
            return Self {
                mamba: Some(mamba_shape(own)),
                delta: None,
                columns: own.columns(),
                values: own.values(),
                norms: own.groups,
            };
        }
        match config.delta.filter(|_| has(Mixer::Delta)) {
            None => Self::default(),
            Some(own) => Self {
                mamba: None,
                delta: Some(delta_shape(own)),
                columns: own.columns(),
                values: own.values(),
                norms: own.value_heads,
            },
        }
    }

    /// These, or others where there are none: all layers with a rule have the same.
    pub(super) fn or(self, other: Self) -> Self {
        match self.columns {
            0 => other,
            _ => self,
        }
    }

    /// For `rows` rows in so many chunks and sequences, of which `back` have a backward pass: what the convolution gives, its
    /// gradient, and what the rule works in.
    pub(super) fn pieces(
        self,
        (rows, back, chunks): (usize, usize, (usize, usize)),
        activations: Dtype,
    ) -> [(Dtype, usize); PIECES] {
        let of_mamba = |shape| ssd_bytes(shape, chunks.0, activations, back > 0);
        let of_delta = |shape| delta_bytes(shape, chunks, activations, back > 0);
        let rule = self.mamba.map_or(0, of_mamba) + self.delta.map_or(0, of_delta);
        [
            (activations, rows * self.columns),
            (activations, back * self.columns),
            (Dtype::U8, rule),
        ]
    }
}
