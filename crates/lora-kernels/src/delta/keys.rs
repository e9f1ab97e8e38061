//! Queries and keys of a key head in a chunk, divided by their lengths, and their products with the keys.
use super::shape::{CHUNK, Shape};
use crate::block::{product, transpose};
use crate::memory::grow;
use crate::vector::dot;

/// Added to a squared length.
const EPS: f32 = 1e-6;

/// y = scale·x/√(Σx² + 10⁻⁶); returns 1/√(…).
pub fn l2_norm(x: &[f32], scale: f32, y: &mut [f32]) -> f32 {
    let inverse = 1.0 / (dot(x, x) + EPS).sqrt();
    for (y, x) in y.iter_mut().zip(x) {
        *y = x * inverse * scale;
    }
    inverse
}

/// dx = scale·inverse·(dy − n·(n·dy)) for n = x·inverse, from what [`l2_norm`] gave.
pub fn l2_backward(y: &[f32], scale: f32, inverse: f32, dy: &[f32], dx: &mut [f32]) {
    let along = dot(y, dy) / (scale * scale);
    for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
        *dx = scale * inverse * (dy - y * along);
    }
}

/// Of a key head in a chunk of c tokens.
#[derive(Debug)]
pub(super) struct Keys {
    /// Tokens, c.
    pub(super) tokens: usize,
    /// Queries over √d, (c, d).
    pub(super) q: Vec<f32>,
    /// Keys, (c, d).
    pub(super) k: Vec<f32>,
    /// The same, (d, c).
    pub(super) k_t: Vec<f32>,
    /// 1/length of each query, and of each key.
    pub(super) q_inverse: [f32; CHUNK],
    pub(super) k_inverse: [f32; CHUNK],
    /// q·kᵀ and k·kᵀ, (c, c).
    pub(super) qk: Vec<f32>,
    pub(super) kk: Vec<f32>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            tokens: 0,
            q: Vec::new(),
            k: Vec::new(),
            k_t: Vec::new(),
            q_inverse: [0.0; CHUNK],
            k_inverse: [0.0; CHUNK],
            qk: Vec::new(),
            kk: Vec::new(),
        }
    }
}

impl Keys {
    /// Reads the chunk of `tokens` rows of `mixed` (T, columns) from `first` on.
    pub(super) fn read(
        &mut self,
        shape: Shape,
        head: usize,
        mixed: &[f32],
        first: usize,
        tokens: usize,
    ) {
        let (d, c) = (shape.key_dim, tokens);
        self.tokens = c;
        grow(&mut self.q, c * d);
        grow(&mut self.k, c * d);
        grow(&mut self.k_t, c * d);
        grow(&mut self.qk, c * c);
        grow(&mut self.kk, c * c);
        let scale = shape.query_scale();
        for i in 0..c {
            let row = (first + i) * shape.columns();
            let q = &mixed[row + shape.query(head)..][..d];
            let k = &mixed[row + shape.key(head)..][..d];
            self.q_inverse[i] = l2_norm(q, scale, &mut self.q[i * d..(i + 1) * d]);
            self.k_inverse[i] = l2_norm(k, 1.0, &mut self.k[i * d..(i + 1) * d]);
        }
        transpose(&self.k[..c * d], d, &mut self.k_t);
        product(&mut self.qk, &self.q, [d, 1], &self.k_t, [c, d, c]);
        product(&mut self.kk, &self.k, [d, 1], &self.k_t, [c, d, c]);
    }
}

/// Values held.
pub(super) fn len(shape: Shape) -> usize {
    3 * CHUNK * shape.key_dim + 2 * CHUNK * CHUNK
}
