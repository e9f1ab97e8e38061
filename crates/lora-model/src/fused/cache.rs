//! What generation keeps of the tokens seen so far: keys and values, or in a recurrent layer states.
use lora_kernels::layout::{Layout, Segment};
use std::collections::BTreeMap;

/// Keys and values of one layer, a row a token; or states, of each text some.
#[derive(Debug)]
pub(super) struct LayerCache {
    /// Keys after rotation, (rows, kv_heads · d).
    pub(super) k: Vec<f32>,
    /// Values, same shape.
    pub(super) v: Vec<f32>,
    width: usize,
    /// Of each text, by the row that its first token has: the convolution's last rows, and the rule's states.
    states: BTreeMap<usize, [Vec<f32>; 2]>,
}

impl LayerCache {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        Self {
            k: vec![0.0; rows * width],
            v: vec![0.0; rows * width],
            width,
            states: BTreeMap::new(),
        }
    }

    /// States of the segments' texts, of the given sizes, end to end; zeros of those that begin.
    pub(super) fn states(&self, layout: &Layout, sizes: [usize; 2]) -> [Vec<f32>; 2] {
        let mut all = sizes.map(|size| Vec::with_capacity(size * layout.segments().len()));
        for segment in layout.segments() {
            let kept = match segment.past {
                0 => None,
                _ => self.states.get(&first_row(layout, segment)),
            };
            for (index, (all, size)) in all.iter_mut().zip(sizes).enumerate() {
                match kept {
                    Some(kept) => all.extend_from_slice(&kept[index]),
                    None => all.resize(all.len() + size, 0.0),
                }
            }
        }
        all
    }

    /// Keeps what [`Self::states`] gave, as the segments have left it.
    pub(super) fn keep_states(&mut self, layout: &Layout, states: &[Vec<f32>; 2]) {
        let segments = layout.segments();
        let of = |index: usize, states: &Vec<f32>| {
            let size = states.len() / segments.len();
            states[index * size..(index + 1) * size].to_vec()
        };
        for (index, segment) in segments.iter().enumerate() {
            let own = states.each_ref().map(|states| of(index, states));
            self.states.insert(first_row(layout, segment), own);
        }
    }

    /// Stores the keys and values of each segment's queries in the last rows that it sees.
    pub(super) fn append(&mut self, layout: &Layout, k: &[f32], v: &[f32]) {
        for s in layout.segments() {
            let key_start = layout.own_keys(s);
            let from = s.query_start * self.width..(s.query_start + s.queries) * self.width;
            let to = key_start * self.width..(key_start + s.queries) * self.width;
            self.k[to.clone()].copy_from_slice(&k[from.clone()]);
            self.v[to].copy_from_slice(&v[from]);
        }
    }
}

/// The row of a segment's first token.
pub(crate) fn first_row(layout: &Layout, segment: &Segment) -> usize {
    let first = layout.spans(segment, 0..1).next();
    first.map_or(0, |(_, span)| span.start)
}
