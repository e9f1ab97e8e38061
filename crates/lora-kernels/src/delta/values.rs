//! A value head in a chunk: its gates and values, the updates that the chunk writes into the state, and the state's way
//! through the chunk.
use super::decays::decay;
use super::inputs::{Gates, Inputs, logistic};
use super::keys::Keys;
use super::shape::{CHUNK, Shape};
use crate::block::{add_product, product, solve};
use crate::memory::grow;

/// Of a value head in a chunk of c tokens.
#[derive(Debug)]
pub(super) struct Values {
    /// β of each token.
    pub(super) beta: [f32; CHUNK],
    /// e to the sum of g from the chunk's begin to each token.
    pub(super) since: [f32; CHUNK],
    /// e to the sum of g from behind each token to the chunk's end.
    pub(super) until: [f32; CHUNK],
    /// e^(Gᵢ − Gⱼ) for j ≤ i, else 0, (c, c).
    pub(super) decay: Vec<f32>,
    /// −βᵢ·kᵢ·kⱼ·decay for j < i, (c, c).
    pub(super) l: Vec<f32>,
    /// qᵢ·kⱼ·decay for j ≤ i, (c, c).
    pub(super) p: Vec<f32>,
    /// Values, (c, n).
    pub(super) v: Vec<f32>,
    /// What the state before the chunk says of each key, (c, n).
    pub(super) known: Vec<f32>,
    /// What each token writes under its key, (c, n).
    pub(super) written: Vec<f32>,
    /// Keys times `until`, (c, d).
    late: Vec<f32>,
    /// The chunk's output, (c, n).
    pub(super) o: Vec<f32>,
}

impl Default for Values {
    fn default() -> Self {
        let none = Vec::new;
        Self {
            beta: [0.0; CHUNK],
            since: [0.0; CHUNK],
            until: [0.0; CHUNK],
            decay: none(),
            l: none(),
            p: none(),
            v: none(),
            known: none(),
            written: none(),
            late: none(),
            o: none(),
        }
    }
}

/// Values held.
pub(super) fn len(shape: Shape) -> usize {
    3 * CHUNK * CHUNK + 4 * CHUNK * shape.value_dim + CHUNK * shape.key_dim
}

impl Values {
    /// What a value head does in the chunk of `keys` that begins at row `first`, with the state before it.
    pub(super) fn read(
        &mut self,
        shape: Shape,
        head: usize,
        inputs: Inputs<'_>,
        first: usize,
        keys: &Keys,
        state: &[f32],
    ) {
        let (c, n) = (keys.tokens, shape.value_dim);
        self.gates(shape, head, inputs, first, c);
        for buffer in [&mut self.v, &mut self.known, &mut self.written] {
            grow(buffer, c * n);
        }
        for buffer in [&mut self.decay, &mut self.l, &mut self.p] {
            grow(buffer, c * c);
        }
        for i in 0..c {
            let row = (first + i) * shape.columns() + shape.value(head);
            self.v[i * n..(i + 1) * n].copy_from_slice(&inputs.mixed[row..row + n]);
            for j in 0..c {
                let at = i * c + j;
                self.p[at] = keys.qk[at] * self.decay[at];
                let below = if j < i { self.decay[at] } else { 0.0 };
                self.l[at] = -self.beta[i] * keys.kk[at] * below;
            }
        }
        let size = [c, shape.key_dim, n];
        product(&mut self.known, &keys.k, [shape.key_dim, 1], state, size);
        for i in 0..c {
            let (beta, since) = (self.beta[i], self.since[i]);
            for j in i * n..(i + 1) * n {
                self.written[j] = beta * (self.v[j] - since * self.known[j]);
            }
        }
        solve(&self.l[..c * c], c, &mut self.written[..c * n]);
    }

    fn gates(&mut self, shape: Shape, head: usize, inputs: Inputs<'_>, first: usize, c: usize) {
        let gates: Gates<'_> = inputs.gates;
        let mut sums = [0.0; CHUNK];
        let mut sum = 0.0;
        for (i, until_here) in sums.iter_mut().enumerate().take(c) {
            let at = (first + i) * shape.value_heads + head;
            self.beta[i] = logistic(inputs.b[at]);
            sum += f64::from(gates.decay(head, inputs.a[at]));
            *until_here = sum;
        }
        grow(&mut self.decay, c * c);
        let (since, until) = (&mut self.since, &mut self.until);
        decay(&sums[..c], since, until, &mut self.decay);
    }

    /// The chunk's output into `self.o`: what its queries find in the state before it, and in what was written since.
    pub(super) fn output(&mut self, shape: Shape, keys: &Keys, state: &[f32]) {
        let (c, n) = (keys.tokens, shape.value_dim);
        grow(&mut self.o, c * n);
        let size = [c, shape.key_dim, n];
        product(&mut self.o, &keys.q, [shape.key_dim, 1], state, size);
        for (row, since) in self.o[..c * n].chunks_exact_mut(n).zip(self.since) {
            row.iter_mut().for_each(|value| *value *= since);
        }
        let written = &self.written[..c * n];
        add_product(&mut self.o, &self.p, [c, 1], written, [c, c, n]);
    }

    /// The state (d, n) becomes that behind the chunk.
    pub(super) fn advance(&mut self, shape: Shape, keys: &Keys, state: &mut [f32]) {
        let (c, d) = (keys.tokens, shape.key_dim);
        let all = self.since[c - 1];
        state.iter_mut().for_each(|value| *value *= all);
        self.late(keys, d);
        let written = &self.written[..c * shape.value_dim];
        let size = [d, c, shape.value_dim];
        add_product(state, &self.late, [1, d], written, size);
    }

    /// Keys times what is left of them at the chunk's end, (c, d).
    pub(super) fn late(&mut self, keys: &Keys, d: usize) -> &[f32] {
        let c = keys.tokens;
        grow(&mut self.late, c * d);
        let rows = self.late.chunks_exact_mut(d).zip(keys.k.chunks_exact(d));
        for ((late, k), until) in rows.zip(self.until).take(c) {
            for (late, k) in late.iter_mut().zip(k) {
                *late = k * until;
            }
        }
        &self.late[..c * d]
    }
}
