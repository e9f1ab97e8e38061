//! The rule forward.
use super::room::{Group, Room};
use super::{SsdInputs, SsdShape};
use crate::device::{Batch, Grid};
use crate::ops::chunks::CHUNK;
use crate::ops::{Args, check_mat, over_values};
use crate::{Error, Gpu, Mat, Product, Tensor};

/// Heads of which one block makes the steps, a warp each.
const STEPS: usize = 4;

/// Values from one chunk to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strides {
    pub(super) chunks: usize,
    /// Of B and C.
    pub(super) sides: usize,
    /// Of rows of all heads.
    pub(super) values: usize,
    /// Of states.
    pub(super) states: usize,
    /// Of scores of groups.
    pub(super) scores: usize,
}

impl Strides {
    pub(super) fn of(shape: SsdShape, chunks: usize) -> Self {
        Self {
            chunks,
            sides: CHUNK * shape.sides(),
            values: CHUNK * shape.values(),
            states: shape.states(),
            scores: shape.groups * CHUNK * CHUNK,
        }
    }

    /// A product for each chunk.
    pub(super) fn batch(self, a: usize, b: usize, c: usize) -> Batch {
        Batch {
            count: self.chunks,
            a,
            b,
            c,
        }
    }
}

impl Gpu {
    /// y of the rule, activations (T, values). `states` are those that texts have left, f32 (texts, state, values), and become
    /// what they leave now; without them every segment begins with none. `memory` holds [`ssd_bytes`](super::ssd_bytes).
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn ssd(
        &self,
        inputs: SsdInputs<'_>,
        states: Option<&Tensor>,
        y: Mat<'_>,
        memory: &Tensor,
    ) -> Result<(), Error> {
        inputs.check(self);
        let SsdInputs { shape, chunks, .. } = inputs;
        check_mat("y", y, self.dtype(), chunks.rows, shape.values());
        if let Some(states) = states.filter(|_| chunks.are_tokens()) {
            return self.ssd_token(inputs, states, y);
        }
        let room = Room::of(memory, (shape, chunks.count), self.dtype(), false);
        self.ssd_states(inputs, states, &room)?;
        let (tile, each) = (CHUNK * CHUNK, CHUNK * shape.width);
        let batch = Batch {
            count: chunks.count * shape.heads,
            a: tile,
            b: each,
            c: each,
        };
        let p = room.p.strided(0, CHUNK, CHUNK, CHUNK);
        let written = room.written.mat(CHUNK, shape.width);
        let within = room.within.mat(CHUNK, shape.width);
        self.gemm_batched(Product::new(p.n(), written.n(), within), batch)?;
        let (rows, columns) = (chunks.padded(), shape.values());
        let args = Args::new()
            .tensor(&room.within, 0)
            .tensor(&room.of_state, 0);
        let args = args.tensor(&room.sums, 0).tensor(inputs.learned.skip, 0);
        let args = args.tensor(&chunks.of_chunks, 0).mat(inputs.x()).mat(y);
        let args = args.int(shape.width).long(rows).long(columns);
        self.launch("ssd_output", over_values(rows, columns), &args)
    }

    /// All but the output: what is written, the scores, the states before all chunks and what C finds there.
    pub(super) fn ssd_states(
        &self,
        inputs: SsdInputs<'_>,
        states: Option<&Tensor>,
        room: &Room,
    ) -> Result<(), Error> {
        let SsdInputs { shape, chunks, .. } = inputs;
        let s = Strides::of(shape, chunks.count);
        self.ssd_steps(inputs, room)?;
        self.chunk_rows(chunks, inputs.sides(), &room.sides)?;
        let steps = Some(&room.steps);
        let written = [&room.written, &room.late];
        self.chunk_heads(inputs, inputs.x(), (steps, false), written, room)?;
        for group in Group::all(shape) {
            let (b, c) = (group.b(&room.sides), group.c(&room.sides));
            let scores = group.scores(&room.scores);
            let batch = s.batch(s.sides, s.sides, s.scores);
            self.gemm_batched(Product::new(c.n(), b.t(), scores), batch)?;
            let late = group.values(&room.late, CHUNK);
            let added = group.values(&room.added, shape.state);
            let batch = s.batch(s.sides, s.values, s.states);
            self.gemm_batched(Product::new(b.t(), late.n(), added), batch)?;
        }
        self.ssd_scores(inputs, room)?;
        self.ssd_pass(inputs, states, room)?;
        for group in Group::all(shape) {
            let c = group.c(&room.sides);
            let before = group.values(&room.before, shape.state);
            let of_state = group.values(&room.of_state, CHUNK);
            let batch = s.batch(s.sides, s.states, s.values);
            self.gemm_batched(Product::new(c.n(), before.n(), of_state), batch)?;
        }
        Ok(())
    }

    fn ssd_steps(&self, inputs: SsdInputs<'_>, room: &Room) -> Result<(), Error> {
        let SsdInputs {
            shape,
            chunks,
            learned,
            ..
        } = inputs;
        let args = Args::new().mat(inputs.dt).tensor(learned.a_log, 0);
        let args = args.tensor(learned.dt_bias, 0);
        let args = args.float(learned.limits[0]).float(learned.limits[1]);
        let args = args.tensor(&chunks.of_chunks, 0);
        let args = args.tensor(&room.steps, 0).tensor(&room.sums, 0);
        let grid = Grid {
            blocks: [chunks.count as u32, shape.heads.div_ceil(STEPS) as u32, 1],
            threads: 32 * STEPS as u32,
        };
        self.launch("ssd_steps", grid, &args.int(shape.heads))
    }

    /// Rows of all heads by chunk and head, times Δ if there are steps, and by row, times what is left of them at the chunk's end
    /// or `since` its begin.
    pub(super) fn chunk_heads(
        &self,
        inputs: SsdInputs<'_>,
        from: Mat<'_>,
        (steps, since): (Option<&Tensor>, bool),
        [by_head, by_row]: [&Tensor; 2],
        room: &Room,
    ) -> Result<(), Error> {
        let SsdInputs { shape, chunks, .. } = inputs;
        let (rows, columns) = (chunks.padded(), shape.values());
        let args = Args::new().mat(from).tensor(&chunks.of_chunks, 0);
        let args = args.maybe(steps).tensor(&room.sums, 0);
        let args = args.int(usize::from(since));
        let args = args.tensor(by_head, 0).tensor(by_row, 0);
        let args = args.int(shape.width).long(rows).long(columns);
        self.launch("chunk_heads", over_values(rows, columns), &args)
    }

    fn ssd_scores(&self, inputs: SsdInputs<'_>, room: &Room) -> Result<(), Error> {
        let SsdInputs { shape, chunks, .. } = inputs;
        let values = chunks.padded() * shape.heads * CHUNK;
        let args = Args::new().tensor(&room.scores, 0).tensor(&room.sums, 0);
        let args = args.tensor(&room.p, 0).int(shape.heads).int(shape.groups);
        self.launch("ssd_scores", over_values(1, values), &args.long(values))
    }

    fn ssd_pass(
        &self,
        inputs: SsdInputs<'_>,
        states: Option<&Tensor>,
        room: &Room,
    ) -> Result<(), Error> {
        let SsdInputs { shape, chunks, .. } = inputs;
        let (rows, columns) = (chunks.segments, shape.states());
        if let Some(states) = states {
            chunks.check_texts(states, columns);
        }
        let args = Args::new().tensor(&room.added, 0).tensor(&room.sums, 0);
        let args = args.tensor(&chunks.of_segments, 0).maybe(states);
        let args = args.tensor(&room.before, 0);
        let args = args.int(shape.heads).int(shape.width);
        let args = args.long(rows).long(columns);
        self.launch("ssd_pass", over_values(rows, columns), &args)
    }
}
