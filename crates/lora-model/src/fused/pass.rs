//! What is the same for every layer of one pass through the decoder: tokens, layout, rotary tables.
use super::binding::Binding;
use crate::spec::Projection;
use lora_checkpoint::{Activation, ModelConfig, Rope};
use lora_kernels::attention::Shape;
use lora_kernels::glu;
use lora_kernels::layout::{Layout, Segment};
use lora_kernels::profile::{Part, Profile};
use lora_kernels::rope::{self, Table};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// One pass.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) binding: Binding<'a>,
    /// Position of every token in its sequence, (T).
    pub(super) positions: Vec<u32>,
    /// Which rows see which.
    pub(super) layout: Layout,
    /// One for each of the config's rotary embeddings.
    pub(super) rotations: Vec<Rotation>,
    /// Where the time goes.
    pub(super) profile: Arc<Profile>,
}

/// The rotary table of every row: rows of one span share it.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    spans: Vec<(Range<usize>, Arc<Table>)>,
}

impl Pass<'_> {
    pub(super) fn tokens(&self) -> usize {
        self.positions.len()
    }

    pub(super) fn eps(&self) -> f32 {
        self.config.rms_norm_eps as f32
    }

    /// Values that a projection gives for all tokens.
    pub(super) fn size(&self, projection: Projection) -> usize {
        self.tokens() * self.config.shape(projection).0
    }

    pub(super) fn activation(&self) -> glu::Activation {
        match self.config.facts().activation {
            Activation::Silu => glu::Activation::Silu,
            Activation::GeluTanh => glu::Activation::GeluTanh,
        }
    }

    /// Attention of a layer.
    pub(super) fn shape(&self, layer: usize) -> Shape {
        let c = self.config;
        Shape {
            heads: c.num_attention_heads,
            kv_heads: c.num_key_value_heads,
            head_dim: c.head_dim,
            scale: c.attention_scale() as f32,
            window: c.layers[layer].window,
            softcap: c.attention_softcap.map(|cap| cap as f32),
        }
    }

    /// Floating-point operations of one product of queries with the keys that they see, all heads.
    pub(super) fn attention_operations(&self, layer: usize) -> u64 {
        let shape = self.shape(layer);
        let pairs = |s: &Segment| -> usize {
            (0..s.queries)
                .map(|i| (s.past + i + 1).min(shape.window.unwrap_or(usize::MAX)))
                .sum()
        };
        let all: usize = self.layout.segments().iter().map(pairs).sum();
        (2 * all * shape.heads * shape.head_dim) as u64
    }

    /// Rotates queries (Q) or keys (K) of a layer in place, or turns their gradient back; nothing if the layer has no
    /// rotary embedding.
    pub(super) fn rotate(
        &self,
        layer: usize,
        projection: Projection,
        x: &mut [f32],
        inverse: bool,
    ) {
        let Some(rope) = self.config.layers[layer].rope else {
            return;
        };
        let (width, d) = (self.config.shape(projection).0, self.config.head_dim);
        self.profile.time(Part::Rotary, 0, || {
            for (rows, table) in &self.rotations[rope].spans {
                let values = &mut x[rows.start * width..rows.end * width];
                rope::rotate(
                    values,
                    &self.positions[rows.clone()],
                    width / d,
                    d,
                    table,
                    inverse,
                );
            }
        });
    }
}

/// Rotary tables kept between passes, by variant (see [`Rope::variant`]).
#[derive(Debug, Default)]
pub(super) struct Tables {
    by_variant: BTreeMap<usize, Arc<Table>>,
}

/// Variants above this belong to one length each, and are dropped after the pass that needed them.
const KEPT: usize = 1;

impl Tables {
    /// The tables of the rows of these segments, which belong to sequences of the given lengths.
    pub(super) fn rotation(&mut self, rope: &Rope, layout: &Layout, lengths: &[usize]) -> Rotation {
        let mut needed: BTreeMap<usize, usize> = BTreeMap::new();
        for &length in lengths {
            let longest = needed.entry(rope.variant(length)).or_default();
            *longest = length.max(*longest);
        }
        self.by_variant
            .retain(|variant, _| *variant <= KEPT || needed.contains_key(variant));
        for (&variant, &length) in &needed {
            if self
                .by_variant
                .get(&variant)
                .is_none_or(|t| t.positions() < length)
            {
                let frequencies = rope.inverse_frequencies(variant);
                let table = Table::new(
                    &frequencies,
                    rope.attention_factor(),
                    length.next_multiple_of(256),
                );
                self.by_variant.insert(variant, Arc::new(table));
            }
        }
        let mut rotation = Rotation::default();
        for (s, &length) in layout.segments().iter().zip(lengths) {
            let rows = s.query_start..s.query_start + s.queries;
            let Some(table) = self.by_variant.get(&rope.variant(length)) else {
                continue;
            };
            match rotation.spans.last_mut() {
                Some((last, same)) if Arc::ptr_eq(same, table) && last.end == rows.start => {
                    last.end = rows.end
                }
                _ => rotation.spans.push((rows, Arc::clone(table))),
            }
        }
        rotation
    }
}
