//! A head in a chunk: its steps and what it writes, its output, and the state's way through the chunk.
use super::inputs::Inputs;
use super::shape::Shape;
use super::sides::Sides;
use crate::block::{add_product, add_scaled, product};
use crate::delta::{CHUNK, decay};
use crate::memory::grow;

/// Of a head in a chunk of c tokens; P is the width of a head, N that of the state.
#[derive(Debug)]
pub(super) struct Head {
    /// Δ of each token.
    pub(super) step: [f32; CHUNK],
    /// e to the sum of Δ·A from the chunk's begin to each token.
    pub(super) since: [f32; CHUNK],
    /// e to the sum of Δ·A from behind each token to the chunk's end.
    pub(super) until: [f32; CHUNK],
    /// e^(Gᵢ − Gⱼ) for j ≤ i, else 0, (c, c), with G the sums of Δ·A.
    pub(super) decay: Vec<f32>,
    /// Cᵢ·Bⱼ·decay, (c, c).
    pub(super) p: Vec<f32>,
    /// x, (c, P).
    pub(super) x: Vec<f32>,
    /// What each token writes under its B, Δ·x, (c, P).
    pub(super) written: Vec<f32>,
    /// B times `until`, (c, N).
    late: Vec<f32>,
    /// The chunk's output, (c, P).
    pub(super) y: Vec<f32>,
}

impl Default for Head {
    fn default() -> Self {
        let none = Vec::new;
        Self {
            step: [0.0; CHUNK],
            since: [0.0; CHUNK],
            until: [0.0; CHUNK],
            decay: none(),
            p: none(),
            x: none(),
            written: none(),
            late: none(),
            y: none(),
        }
    }
}

/// Values held.
pub(super) fn len(shape: Shape) -> usize {
    2 * CHUNK * CHUNK + 3 * CHUNK * shape.width + CHUNK * shape.state
}

impl Head {
    /// What a head does in the chunk of `sides` that begins at row `first`.
    pub(super) fn read(
        &mut self,
        shape: Shape,
        head: usize,
        inputs: Inputs<'_>,
        first: usize,
        sides: &Sides,
    ) {
        let (c, width) = (sides.tokens, shape.width);
        self.steps(shape, head, inputs, first, c);
        for buffer in [&mut self.x, &mut self.written] {
            grow(buffer, c * width);
        }
        grow(&mut self.p, c * c);
        for i in 0..c {
            let row = (first + i) * shape.columns() + head * width;
            let x = &inputs.mixed[row..row + width];
            self.x[i * width..(i + 1) * width].copy_from_slice(x);
            let written = &mut self.written[i * width..(i + 1) * width];
            for (written, x) in written.iter_mut().zip(x) {
                *written = self.step[i] * x;
            }
        }
        let products = self.decay.iter().zip(&sides.cb);
        for (p, (decay, cb)) in self.p.iter_mut().zip(products).take(c * c) {
            *p = decay * cb;
        }
    }

    fn steps(&mut self, shape: Shape, head: usize, inputs: Inputs<'_>, first: usize, c: usize) {
        let rate = inputs.learned.rate(head);
        let mut sums = [0.0; CHUNK];
        let mut sum = 0.0;
        for (i, until_here) in sums.iter_mut().enumerate().take(c) {
            let dt = inputs.dt[(first + i) * shape.heads + head];
            self.step[i] = inputs.learned.step(head, dt);
            sum += f64::from(self.step[i] * rate);
            *until_here = sum;
        }
        grow(&mut self.decay, c * c);
        let (since, until) = (&mut self.since, &mut self.until);
        decay(&sums[..c], since, until, &mut self.decay);
    }

    /// The chunk's output into `self.y`: what its C find in the state before it, in what was written since, and D·x.
    pub(super) fn output(&mut self, shape: Shape, skip: f32, sides: &Sides, state: &[f32]) {
        let (c, width) = (sides.tokens, shape.width);
        grow(&mut self.y, c * width);
        let size = [c, shape.state, width];
        product(&mut self.y, &sides.c, [shape.state, 1], state, size);
        for (row, since) in self.y[..c * width].chunks_exact_mut(width).zip(self.since) {
            row.iter_mut().for_each(|value| *value *= since);
        }
        let written = &self.written[..c * width];
        add_product(&mut self.y, &self.p, [c, 1], written, [c, c, width]);
        add_scaled(&mut self.y[..c * width], skip, &self.x[..c * width]);
    }

    /// The state (N, P) becomes that behind the chunk.
    pub(super) fn advance(&mut self, shape: Shape, sides: &Sides, state: &mut [f32]) {
        let c = sides.tokens;
        let all = self.since[c - 1];
        state.iter_mut().for_each(|value| *value *= all);
        self.late(sides, shape.state);
        let written = &self.written[..c * shape.width];
        let size = [shape.state, c, shape.width];
        add_product(state, &self.late, [1, shape.state], written, size);
    }

    /// B times what is left of it at the chunk's end, (c, N).
    pub(super) fn late(&mut self, sides: &Sides, state: usize) -> &[f32] {
        let c = sides.tokens;
        grow(&mut self.late, c * state);
        let rows = self.late.chunks_exact_mut(state);
        for ((late, b), until) in rows
            .zip(sides.b.chunks_exact(state))
            .zip(self.until)
            .take(c)
        {
            for (late, b) in late.iter_mut().zip(b) {
                *late = b * until;
            }
        }
        &self.late[..c * state]
    }
}
