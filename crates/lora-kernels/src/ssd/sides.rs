//! B and C of a group in a chunk, and their products.
use super::shape::Shape;
use crate::block::{product, transpose};
use crate::delta::CHUNK;
use crate::memory::grow;

/// Of a group in a chunk of c tokens; N is the width of the state.
#[derive(Debug, Default)]
pub(super) struct Sides {
    /// Tokens, c.
    pub(super) tokens: usize,
    /// B, (c, N).
    pub(super) b: Vec<f32>,
    /// The same, (N, c).
    turned: Vec<f32>,
    /// C, (c, N).
    pub(super) c: Vec<f32>,
    /// C·Bᵀ, (c, c).
    pub(super) cb: Vec<f32>,
}

impl Sides {
    /// Reads the chunk of `tokens` rows of `mixed` (T, columns) from `first` on.
    pub(super) fn read(
        &mut self,
        shape: Shape,
        group: usize,
        mixed: &[f32],
        (first, tokens): (usize, usize),
    ) {
        let n = shape.state;
        self.tokens = tokens;
        for buffer in [&mut self.b, &mut self.turned, &mut self.c] {
            grow(buffer, tokens * n);
        }
        grow(&mut self.cb, tokens * tokens);
        for i in 0..tokens {
            let row = &mixed[(first + i) * shape.columns()..(first + i + 1) * shape.columns()];
            self.b[i * n..(i + 1) * n].copy_from_slice(&row[shape.keys(group)..][..n]);
            self.c[i * n..(i + 1) * n].copy_from_slice(&row[shape.queries(group)..][..n]);
        }
        transpose(&self.b[..tokens * n], n, &mut self.turned);
        let size = [tokens, n, tokens];
        product(&mut self.cb, &self.c, [n, 1], &self.turned, size);
    }
}

/// Values held.
pub(super) fn len(shape: Shape) -> usize {
    3 * CHUNK * shape.state + CHUNK * CHUNK
}
