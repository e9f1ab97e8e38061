//! Keys and values of the tokens seen so far, for generation.
use lora_kernels::attention::Segment;

/// Keys and values of one layer: each sequence owns a region of rows.
#[derive(Debug)]
pub(super) struct LayerCache {
    /// Keys after rotation, (sequences · capacity, kv_heads · d).
    pub(super) k: Vec<f32>,
    /// Values, same shape.
    pub(super) v: Vec<f32>,
    width: usize,
}

impl LayerCache {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        Self { k: vec![0.0; rows * width], v: vec![0.0; rows * width], width }
    }

    /// Stores the keys and values of each segment's queries behind its past.
    pub(super) fn append(&mut self, segments: &[Segment], k: &[f32], v: &[f32]) {
        for s in segments {
            let from = s.query_start * self.width..(s.query_start + s.queries) * self.width;
            let to = (s.key_start + s.past) * self.width..(s.key_start + s.past + s.queries) * self.width;
            self.k[to.clone()].copy_from_slice(&k[from.clone()]);
            self.v[to].copy_from_slice(&v[from]);
        }
    }
}
