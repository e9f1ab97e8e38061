//! A micro-batch as memory sees it.
use super::batch::{Batch, Prefixes, neighbours};
use crate::Packed;
use lora_checkpoint::ModelConfig;
use lora_gpu::chunks_of;
use lora_kernels::attention;
use lora_kernels::layout::Layout;

/// A micro-batch as memory sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSize {
    /// Tokens, T.
    pub tokens: usize,
    /// Tokens of its longest sequence.
    pub longest: usize,
    /// Supervised tokens, n.
    pub supervised: usize,
    /// Values of the gradients of keys and values that attention's backward pass holds apart: few, unless many sequences
    /// share a long beginning.
    pub attention: usize,
    /// The most keys of a sequence that are no neighbouring rows, because it shares its beginning: a GPU gathers them.
    pub gathered: usize,
    /// Chunks of its sequences: a GPU goes along them where a layer keeps a state.
    pub chunks: usize,
    /// Its sequences.
    pub sequences: usize,
}

impl BatchSize {
    /// Of a pack, with common beginnings computed once if `share`.
    #[must_use]
    pub fn of(config: &ModelConfig, packed: &Packed, share: bool) -> Self {
        let prefixes = Prefixes::of(config, share);
        let variants = |length| {
            let ropes = config.ropes.iter();
            ropes.map(|rope| rope.variant(length)).collect::<Vec<_>>()
        };
        let batch = Batch::of(packed, prefixes, variants);
        Self {
            tokens: batch.tokens(),
            longest: packed.longest(),
            supervised: packed.supervised(),
            attention: held_apart(config, &batch.layout),
            gathered: gathered(&batch.layout),
            chunks: {
                let segments = batch.layout.segments().iter();
                segments.map(|segment| chunks_of(segment.queries)).sum()
            },
            sequences: batch.layout.segments().len(),
        }
    }

    /// Of sequences of these lengths, of which nothing is shared.
    #[must_use]
    pub fn alone(config: &ModelConfig, lengths: &[usize], supervised: usize) -> Self {
        let mut starts = vec![0];
        for length in lengths {
            starts.push(starts[starts.len() - 1] + length);
        }
        Self {
            tokens: starts[lengths.len()],
            longest: lengths.iter().copied().max().unwrap_or(0),
            supervised,
            attention: held_apart(config, &Layout::packed(&starts)),
            gathered: 0,
            chunks: lengths.iter().map(|&length| chunks_of(length)).sum(),
            sequences: lengths.iter().filter(|&&length| length > 0).count(),
        }
    }

    /// The most of both, part by part.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.max(other.tokens),
            longest: self.longest.max(other.longest),
            supervised: self.supervised.max(other.supervised),
            attention: self.attention.max(other.attention),
            gathered: self.gathered.max(other.gathered),
            chunks: self.chunks.max(other.chunks),
            sequences: self.sequences.max(other.sequences),
        }
    }
}

/// The most keys of a segment that lie apart.
fn gathered(layout: &Layout) -> usize {
    let segments = layout.segments().iter();
    let apart = segments.filter(|segment| neighbours(layout, segment).is_none());
    apart.map(|s| s.past + s.queries).max().unwrap_or(0)
}

/// The most that attention's workspace holds in any layer.
fn held_apart(config: &ModelConfig, layout: &Layout) -> usize {
    attention_shapes(config)
        .into_iter()
        .map(|shape| attention::workspace_len(shape, layout))
        .max()
        .unwrap_or(0)
}

/// Attention of all kinds of layers, as far as memory is concerned.
pub(super) fn attention_shapes(config: &ModelConfig) -> Vec<attention::Shape> {
    let layers = config.layers.iter().enumerate();
    let mut kinds: Vec<_> = layers
        .map(|(index, layer)| {
            let heads = config.heads_of(index);
            (layer.window, heads.kv, heads.width)
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let shape = |(window, kv_heads, head_dim)| attention::Shape {
        heads: config.num_attention_heads,
        kv_heads,
        head_dim,
        scale: 1.0,
        window,
        softcap: None,
    };
    kinds.into_iter().map(shape).collect()
}
