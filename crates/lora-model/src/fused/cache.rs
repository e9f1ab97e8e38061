//! Keys and values of the tokens seen so far, for generation.
use lora_kernels::layout::Layout;

/// Keys and values of one layer, a row a token.
#[derive(Debug)]
pub(super) struct LayerCache {
    /// Keys after rotation, (rows, kv_heads · d).
    pub(super) k: Vec<f32>,
    /// Values, same shape.
    pub(super) v: Vec<f32>,
    width: usize,
}

impl LayerCache {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        Self {
            k: vec![0.0; rows * width],
            v: vec![0.0; rows * width],
            width,
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
