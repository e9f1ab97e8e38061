//! A value head's way back through one chunk. With G the sum of g within it, S the state before it, D(i, j) = e^(Gᵢ − Gⱼ), w
//! what is written:
//!
//! ```text
//! o = e^G∘(q·S) + (q·kᵀ∘D)·w     (I + β∘k·kᵀ∘D)·w = β∘(v − e^G∘(k·S))     S′ = e^Gc·S + Σⱼ e^(Gc − Gⱼ)·kⱼ·wⱼᵀ
//! ```
use super::decays::Decays;
use super::inputs::Inputs;
use super::keys::Keys;
use super::shape::{CHUNK, Shape};
use super::values::Values;
use crate::block::{add_product, product, solve_transposed, transpose};
use crate::memory::grow;
use crate::shared::SharedMut;
use crate::vector::dot;

/// What a thread holds beside keys and values.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Gradients of normalised queries and keys, (c, d).
    pub(super) dq: Vec<f32>,
    pub(super) dk: Vec<f32>,
    /// Gradient of the output, (c, n).
    pub(super) d_o: Vec<f32>,
    /// Gradient of what is written, then of the right side of the system, (c, n).
    pub(super) dw: Vec<f32>,
    /// −β·e^G times that: the gradient of what the state says of a key, (c, n).
    pub(super) d_known: Vec<f32>,
    /// Gradients of q·kᵀ and of k·kᵀ, (c, c).
    pub(super) d_qk: Vec<f32>,
    pub(super) d_kk: Vec<f32>,
    /// A matrix (n, c) or (n, d).
    pub(super) turned: Vec<f32>,
    /// Something of each token by keys' width, (c, d).
    pub(super) wide: Vec<f32>,
    /// Gradients of the state behind the chunk, and before it, (d, n), for each value head of the group.
    pub(super) d_state: Vec<f32>,
    pub(super) before: Vec<f32>,
    /// One value of a key, to write.
    pub(super) dx: Vec<f32>,
}

/// Values held.
pub(super) fn len(shape: Shape) -> usize {
    let (d, n) = (shape.key_dim, shape.value_dim);
    let turned = n * d.max(CHUNK);
    3 * CHUNK * d + 3 * CHUNK * n + 2 * CHUNK * CHUNK + turned + (shape.group() + 1) * d * n + d
}

/// Gradients that tasks share.
pub(super) struct Shared<'a> {
    pub(super) job: usize,
    pub(super) mixed: &'a SharedMut<'a>,
    pub(super) a: &'a SharedMut<'a>,
    pub(super) b: &'a SharedMut<'a>,
}

/// A value head in a chunk.
pub(super) struct Chunk<'c> {
    pub(super) shape: Shape,
    pub(super) head: usize,
    /// Its place in the group.
    pub(super) place: usize,
    pub(super) first: usize,
    pub(super) inputs: Inputs<'c>,
    /// Before the chunk.
    pub(super) state: &'c [f32],
    pub(super) keys: &'c Keys,
}

impl Chunk<'_> {
    pub(super) fn differentiate(
        &self,
        values: &mut Values,
        d_o: &[f32],
        to: &Shared<'_>,
        room: &mut Room,
    ) {
        let (c, n, d) = (self.keys.tokens, self.shape.value_dim, self.shape.key_dim);
        for buffer in [&mut room.d_o, &mut room.dw, &mut room.d_known] {
            grow(buffer, c * n);
        }
        for buffer in [&mut room.d_qk, &mut room.d_kk] {
            grow(buffer, c * c);
        }
        grow(&mut room.turned, n * c.max(d));
        grow(&mut room.wide, c * d);
        grow(&mut room.before, d * n);
        for (i, row) in room.d_o.chunks_exact_mut(n).take(c).enumerate() {
            let at = (self.first + i) * self.shape.values() + self.head * n;
            row.copy_from_slice(&d_o[at..at + n]);
        }
        let mut decays = Decays::new();
        let mut d_beta = [0.0f32; CHUNK];
        self.through_the_end(values, &mut decays, room);
        self.through_the_system(values, &mut decays, &mut d_beta, room);
        self.through_the_state(values, &mut decays, room);
        self.write(values, &decays.whole(), &d_beta, to, room);
    }

    /// From the output and the state behind the chunk to what is written (`dw`); of the state before it what decays over the
    /// chunk (`before`), of the keys what they write at its end.
    fn through_the_end(&self, values: &mut Values, decays: &mut Decays, room: &mut Room) {
        let (c, n, d) = (self.keys.tokens, self.shape.value_dim, self.shape.key_dim);
        let (size, last) = (self.shape.state(), values.since[c - 1]);
        let d_state = &room.d_state[self.place * size..(self.place + 1) * size];
        product(&mut room.dw, &values.p, [1, c], &room.d_o, [c, c, n]);
        let late = values.late(self.keys, d);
        add_product(&mut room.dw, late, [d, 1], d_state, [c, d, n]);
        transpose(d_state, n, &mut room.turned); // (n, d)
        let written = &values.written[..c * n];
        product(&mut room.wide, written, [n, 1], &room.turned, [c, n, d]);
        let rows = room.wide.chunks_exact(d).zip(room.dk.chunks_exact_mut(d));
        // The state decays over all tokens, and what a token writes over all behind it.
        let mut left = last * dot(self.state, d_state);
        for (i, (wide, dk)) in rows.take(c).enumerate() {
            let k = &self.keys.k[i * d..(i + 1) * d];
            let until = values.until[i];
            decays.own[i] += left;
            left += until * dot(k, wide);
            dk.iter_mut().zip(wide).for_each(|(dk, w)| *dk += until * w);
        }
        for (before, behind) in room.before.iter_mut().zip(d_state) {
            *before = last * behind;
        }
    }

    /// From what is written through the triangular system, and from the scores: `dw` becomes the gradient of its right side,
    /// `d_qk` and `d_kk` those of the products with keys.
    fn through_the_system(
        &self,
        values: &Values,
        decays: &mut Decays,
        d_beta: &mut [f32; CHUNK],
        room: &mut Room,
    ) {
        let (c, n) = (self.keys.tokens, self.shape.value_dim);
        solve_transposed(&values.l[..c * c], c, &mut room.dw[..c * n]);
        transpose(&values.written[..c * n], n, &mut room.turned); // (n, c)
        product(&mut room.d_qk, &room.d_o, [n, 1], &room.turned, [c, n, c]);
        product(&mut room.d_kk, &room.dw, [n, 1], &room.turned, [c, n, c]);
        for (i, d_beta) in d_beta.iter_mut().enumerate().take(c) {
            let beta = values.beta[i];
            let mut earlier = 0.0;
            for j in 0..i {
                let at = i * c + j;
                let decay = values.decay[at];
                // −d_kk is the gradient of the system's matrix, β∘k·kᵀ∘D below the diagonal.
                let of_system = -room.d_kk[at] * decay;
                *d_beta += of_system * self.keys.kk[at];
                earlier += room.d_qk[at] * values.p[at] + of_system * beta * self.keys.kk[at];
                decays.own[j + 1] += earlier; // all that decays by it on its way to i
                room.d_qk[at] *= decay;
                room.d_kk[at] = of_system * beta;
            }
            room.d_kk[i * c + i..(i + 1) * c].fill(0.0);
            room.d_qk[i * c + i + 1..(i + 1) * c].fill(0.0);
        }
        for (i, d_beta) in d_beta.iter_mut().enumerate().take(c) {
            let (rows, since) = (i * n..(i + 1) * n, values.since[i]);
            let (v, known) = (&values.v[rows.clone()], &values.known[rows.clone()]);
            let dw = &room.dw[rows.clone()];
            let said = dot(dw, known);
            *d_beta += dot(dw, v) - since * said;
            let factor = -values.beta[i] * since;
            decays.since[i] += factor * said;
            for (to, dw) in room.d_known[rows].iter_mut().zip(dw) {
                *to = factor * dw;
            }
        }
    }

    /// From what the state before the chunk says of queries and keys to it, to them, and from their products to them.
    fn through_the_state(&self, values: &Values, decays: &mut Decays, room: &mut Room) {
        let (c, n, d) = (self.keys.tokens, self.shape.value_dim, self.shape.key_dim);
        let (q, k) = (&self.keys.q[..c * d], &self.keys.k[..c * d]);
        let d_known = &room.d_known[..c * n];
        add_product(&mut room.before, k, [1, d], d_known, [d, c, n]);
        transpose(self.state, n, &mut room.turned); // (n, d)
        add_product(&mut room.dk, d_known, [n, 1], &room.turned, [c, n, d]);
        for (row, since) in room.d_o[..c * n].chunks_exact_mut(n).zip(values.since) {
            row.iter_mut().for_each(|value| *value *= since);
        }
        let d_o = &room.d_o[..c * n];
        add_product(&mut room.before, q, [1, d], d_o, [d, c, n]);
        product(&mut room.wide, d_o, [n, 1], &room.turned, [c, n, d]);
        let rows = room.wide.chunks_exact(d).zip(room.dq.chunks_exact_mut(d));
        for (i, (wide, dq)) in rows.take(c).enumerate() {
            decays.since[i] += dot(&q[i * d..(i + 1) * d], wide);
            dq.iter_mut().zip(wide).for_each(|(dq, w)| *dq += w);
        }
        add_product(&mut room.dq, &room.d_qk, [c, 1], k, [c, c, d]);
        add_product(&mut room.dk, &room.d_qk, [1, c], q, [c, c, d]);
        add_product(&mut room.dk, &room.d_kk, [c, 1], k, [c, c, d]);
        add_product(&mut room.dk, &room.d_kk, [1, c], k, [c, c, d]);
        let size = self.shape.state();
        room.d_state[self.place * size..(self.place + 1) * size]
            .copy_from_slice(&room.before[..size]);
    }

    /// The gradients of values, and through the gates.
    fn write(
        &self,
        values: &Values,
        dg: &[f32; CHUNK],
        d_beta: &[f32; CHUNK],
        to: &Shared<'_>,
        room: &Room,
    ) {
        let (shape, n) = (self.shape, self.shape.value_dim);
        for i in 0..self.keys.tokens {
            let row = self.first + i;
            let at = row * shape.value_heads + self.head;
            let beta = values.beta[i];
            let da = dg[i] * self.inputs.gates.slope(self.head, self.inputs.a[at]);
            let column = row * shape.columns() + shape.value(self.head);
            // SAFETY: this head's gates and values in the rows of this segment are this task's alone: `Layout` gives each
            // row of queries to one segment.
            let (a, b, v) = unsafe {
                (
                    to.a.part(to.job, at, 1),
                    to.b.part(to.job, at, 1),
                    to.mixed.part(to.job, column, n),
                )
            };
            a[0] = da;
            b[0] = d_beta[i] * beta * (1.0 - beta);
            for (v, dw) in v.iter_mut().zip(&room.dw[i * n..(i + 1) * n]) {
                *v = beta * dw;
            }
        }
    }
}
