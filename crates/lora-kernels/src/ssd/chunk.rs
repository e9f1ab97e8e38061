//! A head's way back through one chunk. With G the sum of Δ·A within it, S the state before it, D(i, j) = e^(Gᵢ − Gⱼ) for
//! j ≤ i, w = Δ·x:
//!
//! ```text
//! y = e^G∘(C·S) + (C·Bᵀ∘D)·w + d·x     S′ = e^Gc·S + Σⱼ e^(Gc − Gⱼ)·Bⱼ·wⱼᵀ
//! ```
use super::head::Head;
use super::inputs::Inputs;
use super::shape::Shape;
use super::sides::Sides;
use crate::block::{add_product, product, transpose};
use crate::delta::{CHUNK, Decays};
use crate::memory::grow;
use crate::shared::SharedMut;
use crate::vector::dot;

/// What a thread holds beside sides and head.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Gradients of B and C, (c, N), of all heads of the block.
    pub(super) db: Vec<f32>,
    pub(super) dc: Vec<f32>,
    /// Gradient of the output, (c, P), then that times e^G.
    dy: Vec<f32>,
    /// Gradient of what is written, (c, P).
    dw: Vec<f32>,
    /// Gradient of C·Bᵀ, (c, c).
    d_cb: Vec<f32>,
    /// A matrix (P, c) or (P, N).
    turned: Vec<f32>,
    /// Something of each token by the state's width, (c, N).
    wide: Vec<f32>,
    /// Gradients of the state behind the chunk, (N, P), for each head of the block, and of one before it.
    pub(super) d_state: Vec<f32>,
    before: Vec<f32>,
}

/// Values held.
pub(super) fn len(shape: Shape) -> usize {
    let (n, width) = (shape.state, shape.width);
    let states = (shape.block_heads() + 1) * n * width;
    3 * CHUNK * n + 2 * CHUNK * width + CHUNK * CHUNK + width * n.max(CHUNK) + states
}

/// Gradients that tasks share.
pub(super) struct Shared<'a> {
    pub(super) job: usize,
    pub(super) mixed: &'a SharedMut<'a>,
    pub(super) dt: &'a SharedMut<'a>,
}

/// A head in a chunk.
pub(super) struct Chunk<'c> {
    pub(super) shape: Shape,
    pub(super) head: usize,
    /// Its place in the block.
    pub(super) place: usize,
    pub(super) first: usize,
    pub(super) inputs: Inputs<'c>,
    /// Before the chunk.
    pub(super) state: &'c [f32],
    pub(super) sides: &'c Sides,
}

impl Chunk<'_> {
    pub(super) fn differentiate(
        &self,
        head: &mut Head,
        dy: &[f32],
        to: &Shared<'_>,
        room: &mut Room,
    ) {
        let (c, width, n) = (self.sides.tokens, self.shape.width, self.shape.state);
        for buffer in [&mut room.dy, &mut room.dw] {
            grow(buffer, c * width);
        }
        grow(&mut room.d_cb, c * c);
        grow(&mut room.turned, width * c.max(n));
        grow(&mut room.wide, c * n);
        grow(&mut room.before, n * width);
        for (i, row) in room.dy.chunks_exact_mut(width).take(c).enumerate() {
            let at = (self.first + i) * self.shape.values() + self.head * width;
            row.copy_from_slice(&dy[at..at + width]);
        }
        let mut decays = Decays::new();
        self.through_the_end(head, &mut decays, room);
        self.through_the_scores(head, &mut decays, room);
        self.write(head, &decays.whole(), to, room);
        self.through_the_state(head, room);
    }

    /// From the output and the state behind the chunk to what is written (`dw`); of the state before it what decays over the
    /// chunk (`before`), of B what it writes at the chunk's end.
    fn through_the_end(&self, head: &mut Head, decays: &mut Decays, room: &mut Room) {
        let (c, width, n) = (self.sides.tokens, self.shape.width, self.shape.state);
        let (size, last) = (self.shape.state_len(), head.since[c - 1]);
        let d_state = &room.d_state[self.place * size..(self.place + 1) * size];
        product(&mut room.dw, &head.p, [1, c], &room.dy, [c, c, width]);
        let late = head.late(self.sides, n);
        add_product(&mut room.dw, late, [n, 1], d_state, [c, n, width]);
        transpose(d_state, width, &mut room.turned); // (P, N)
        let written = &head.written[..c * width];
        product(
            &mut room.wide,
            written,
            [width, 1],
            &room.turned,
            [c, width, n],
        );
        let rows = room.wide.chunks_exact(n).zip(room.db.chunks_exact_mut(n));
        // The state decays over all tokens, and what a token writes over all behind it.
        let mut left = last * dot(self.state, d_state);
        for (i, (wide, db)) in rows.take(c).enumerate() {
            let until = head.until[i];
            decays.own[i] += left;
            left += until * dot(&self.sides.b[i * n..(i + 1) * n], wide);
            db.iter_mut().zip(wide).for_each(|(db, w)| *db += until * w);
        }
        for (before, behind) in room.before.iter_mut().zip(d_state) {
            *before = last * behind;
        }
    }

    /// From the scores to B and C, and of C what the state before the chunk says of it.
    fn through_the_scores(&self, head: &Head, decays: &mut Decays, room: &mut Room) {
        let (c, width, n) = (self.sides.tokens, self.shape.width, self.shape.state);
        transpose(&head.written[..c * width], width, &mut room.turned); // (P, c)
        product(
            &mut room.d_cb,
            &room.dy,
            [width, 1],
            &room.turned,
            [c, width, c],
        );
        for i in 0..c {
            let mut earlier = 0.0;
            for j in 0..i {
                let at = i * c + j;
                earlier += room.d_cb[at] * head.p[at];
                decays.own[j + 1] += earlier; // all that decays by it on its way to i
                room.d_cb[at] *= head.decay[at];
            }
            room.d_cb[i * c + i + 1..(i + 1) * c].fill(0.0);
        }
        let (b, own) = (&self.sides.b[..c * n], &self.sides.c[..c * n]);
        add_product(&mut room.dc, &room.d_cb, [c, 1], b, [c, c, n]);
        add_product(&mut room.db, &room.d_cb, [1, c], own, [c, c, n]);
        transpose(self.state, width, &mut room.turned); // (P, N)
        product(
            &mut room.wide,
            &room.dy,
            [width, 1],
            &room.turned,
            [c, width, n],
        );
        let rows = room.wide.chunks_exact(n).zip(room.dc.chunks_exact_mut(n));
        for (i, (wide, dc)) in rows.take(c).enumerate() {
            let since = head.since[i];
            decays.since[i] += since * dot(&own[i * n..(i + 1) * n], wide);
            dc.iter_mut().zip(wide).for_each(|(dc, w)| *dc += since * w);
        }
    }

    /// The gradients of x, and through the steps.
    fn write(&self, head: &Head, dg: &[f32; CHUNK], to: &Shared<'_>, room: &Room) {
        let (shape, width) = (self.shape, self.shape.width);
        let learned = self.inputs.learned;
        let (rate, skip) = (learned.rate(self.head), learned.d[self.head]);
        for (i, dg) in dg.iter().enumerate().take(self.sides.tokens) {
            let (rows, row) = (i * width..(i + 1) * width, self.first + i);
            let at = row * shape.heads + self.head;
            let (dw, dy) = (&room.dw[rows.clone()], &room.dy[rows.clone()]);
            let d_step = dot(&head.x[rows], dw) + rate * dg;
            let column = row * shape.columns() + self.head * width;
            // SAFETY: this head's steps and values in the rows of this segment are this task's alone: `Layout` gives each
            // row of queries to one segment.
            let (dt, x) = unsafe {
                (
                    to.dt.part(to.job, at, 1),
                    to.mixed.part(to.job, column, width),
                )
            };
            dt[0] = d_step * learned.slope(self.head, self.inputs.dt[at]);
            for ((x, dw), dy) in x.iter_mut().zip(dw).zip(dy) {
                *x = head.step[i] * dw + skip * dy;
            }
        }
    }

    /// The gradient of the state before the chunk.
    fn through_the_state(&self, head: &Head, room: &mut Room) {
        let (c, width, n) = (self.sides.tokens, self.shape.width, self.shape.state);
        let rows = room.dy[..c * width].chunks_exact_mut(width);
        for (row, since) in rows.zip(head.since) {
            row.iter_mut().for_each(|value| *value *= since);
        }
        let (own, dy) = (&self.sides.c[..c * n], &room.dy[..c * width]);
        add_product(&mut room.before, own, [1, n], dy, [n, c, width]);
        let size = self.shape.state_len();
        room.d_state[self.place * size..(self.place + 1) * size]
            .copy_from_slice(&room.before[..size]);
    }
}
