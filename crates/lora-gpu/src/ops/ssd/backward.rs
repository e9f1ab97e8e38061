//! The rule's way back. What the forward pass made between is made again.
use super::forward::Strides;
use super::room::{Group, Room};
use super::{SsdInputs, SsdShape};
use crate::device::{Batch, Grid};
use crate::ops::chunks::CHUNK;
use crate::ops::{Args, check_mat, over_values};
use crate::{Error, Gpu, Mat, Product, Tensor};

/// Where the gradients of what the rule reads go.
#[derive(Debug, Clone, Copy)]
pub struct SsdGradients<'t> {
    /// Of x, B and C, activations (T, columns).
    pub mixed: Mat<'t>,
    /// Of what steps are made of, activations (T, heads).
    pub dt: Mat<'t>,
}

impl Gpu {
    /// The gradients of what [`ssd`](Self::ssd) read, of sequences that begin in the batch, from that of y, activations
    /// (T, values). `memory` holds [`ssd_bytes`](super::ssd_bytes) of a way back.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn ssd_backward(
        &self,
        inputs: SsdInputs<'_>,
        dy: Mat<'_>,
        to: SsdGradients<'_>,
        memory: &Tensor,
    ) -> Result<(), Error> {
        inputs.check(self);
        let SsdInputs { shape, chunks, .. } = inputs;
        let (rows, dtype) = (chunks.rows, self.dtype());
        check_mat("gradient of y", dy, dtype, rows, shape.values());
        check_mat("that of x, B and C", to.mixed, dtype, rows, shape.columns());
        check_mat("that of steps", to.dt, dtype, rows, shape.heads);
        let room = Room::of(memory, (shape, chunks.count), dtype, true);
        self.ssd_states(inputs, None, &room)?;
        let gradients = [&room.d_by_head, &room.d_since];
        self.chunk_heads(inputs, dy, (None, true), gradients, &room)?;
        self.through_states(inputs, &room)?;
        self.through_scores(inputs, &room)?;
        self.to_sides(inputs, &room)?;
        let sides = shape.values()..shape.columns();
        self.unchunk_rows(chunks, &room.d_sides, to.mixed.of_columns(sides))?;
        self.ssd_write(inputs, dy, to, &room)
    }

    /// From the output to the states before chunks and behind them, and from these to what is written.
    fn through_states(&self, inputs: SsdInputs<'_>, room: &Room) -> Result<(), Error> {
        let SsdInputs { shape, chunks, .. } = inputs;
        let s = Strides::of(shape, chunks.count);
        for group in Group::all(shape) {
            let c = group.c(&room.sides);
            let d = group.values(&room.d_since, CHUNK);
            let added = group.values(&room.added, shape.state);
            let batch = s.batch(s.sides, s.values, s.states);
            self.gemm_batched(Product::new(c.t(), d.n(), added), batch)?;
        }
        let (rows, columns) = (chunks.segments, shape.states());
        let args = Args::new().tensor(&room.added, 0).tensor(&room.sums, 0);
        let args = args.tensor(&chunks.of_segments, 0);
        let args = args.tensor(&room.behind, 0);
        let args = args.int(shape.heads).int(shape.width);
        let args = args.long(rows).long(columns);
        self.launch("ssd_pass_back", over_values(rows, columns), &args)?;
        let args = Args::new().tensor(&room.before, 0).tensor(&room.behind, 0);
        let args = args.tensor(&room.dots, 0).int(shape.heads);
        let args = args.int(shape.width).int(shape.state);
        self.launch("ssd_state_dots", a_chunk_and_head(inputs, 256), &args)?;
        for group in Group::all(shape) {
            let b = group.b(&room.sides);
            let behind = group.values(&room.behind, shape.state);
            let of_end = group.values(&room.of_end, CHUNK);
            let batch = s.batch(s.sides, s.states, s.values);
            self.gemm_batched(Product::new(b.n(), behind.n(), of_end), batch)?;
        }
        Ok(())
    }

    /// From the output through what was written in the chunk to that, and to the scores.
    fn through_scores(&self, inputs: SsdInputs<'_>, room: &Room) -> Result<(), Error> {
        let SsdInputs { shape, chunks, .. } = inputs;
        let SsdShape {
            heads,
            groups,
            width,
            ..
        } = shape;
        let (tile, each) = (CHUNK * CHUNK, CHUNK * width);
        let count = chunks.count * heads;
        let p = room.p.strided(0, CHUNK, CHUNK, CHUNK);
        let d_p = room.d_p.strided(0, CHUNK, CHUNK, CHUNK);
        let [d, written] = [&room.d_by_head, &room.written].map(|all| all.mat(CHUNK, width));
        let within = room.within.mat(CHUNK, width);
        let batch = |a, b, c| Batch { count, a, b, c };
        self.gemm_batched(Product::new(p.t(), d.n(), within), batch(tile, each, each))?;
        let product = Product::new(d.n(), written.t(), d_p);
        self.gemm_batched(product, batch(each, each, tile))?;
        let args = Args::new().tensor(&room.d_p, 0).tensor(&room.p, 0);
        let args = args.tensor(&room.d_sums, 0);
        let grid = Grid {
            blocks: [count as u32, 1, 1],
            threads: 256,
        };
        self.launch("ssd_score_sums", grid, &args)?;
        let values = chunks.padded() * groups * CHUNK;
        let args = Args::new().tensor(&room.d_p, 0).tensor(&room.sums, 0);
        let args = args.tensor(&room.d_scores, 0).int(heads).int(groups);
        let grid = over_values(1, values);
        self.launch("ssd_score_gradients", grid, &args.long(values))
    }

    /// The gradients of B and C.
    fn to_sides(&self, inputs: SsdInputs<'_>, room: &Room) -> Result<(), Error> {
        let SsdInputs { shape, chunks, .. } = inputs;
        let s = Strides::of(shape, chunks.count);
        for group in Group::all(shape) {
            let (b, c) = (group.b(&room.sides), group.c(&room.sides));
            let (db, dc) = (group.b(&room.d_sides), group.c(&room.d_sides));
            let d_scores = group.scores(&room.d_scores);
            let of_states = s.batch(s.values, s.states, s.sides);
            let of_scores = s.batch(s.scores, s.sides, s.sides);
            let late = group.values(&room.late, CHUNK);
            let behind = group.values(&room.behind, shape.state);
            self.gemm_batched(Product::new(late.n(), behind.t(), db), of_states)?;
            self.gemm_batched(Product::new(d_scores.t(), c.n(), db).adding(), of_scores)?;
            let since = group.values(&room.d_since, CHUNK);
            let before = group.values(&room.before, shape.state);
            self.gemm_batched(Product::new(since.n(), before.t(), dc), of_states)?;
            self.gemm_batched(Product::new(d_scores.n(), b.n(), dc).adding(), of_scores)?;
        }
        Ok(())
    }

    /// The gradients of x and of what steps are made of.
    fn ssd_write(
        &self,
        inputs: SsdInputs<'_>,
        dy: Mat<'_>,
        to: SsdGradients<'_>,
        room: &Room,
    ) -> Result<(), Error> {
        let SsdInputs { shape, chunks, .. } = inputs;
        let learned = inputs.learned;
        let args = Args::new().mat(inputs.x()).mat(inputs.dt).mat(dy);
        let args = args.tensor(&room.within, 0).tensor(&room.of_end, 0);
        let args = args.tensor(&room.of_state, 0).tensor(&room.steps, 0);
        let args = args.tensor(&room.sums, 0).tensor(&room.d_sums, 0);
        let args = args.tensor(&room.dots, 0).tensor(learned.a_log, 0);
        let args = args.tensor(learned.dt_bias, 0).tensor(learned.skip, 0);
        let args = args.float(learned.limits[0]).float(learned.limits[1]);
        let args = args.tensor(&chunks.of_chunks, 0);
        let args = args.mat(to.mixed.of_columns(0..shape.values())).mat(to.dt);
        let args = args.int(shape.heads).int(shape.width);
        self.launch("ssd_write", a_chunk_and_head(inputs, 256), &args)
    }
}

/// A block for each chunk and head.
fn a_chunk_and_head(inputs: SsdInputs<'_>, threads: u32) -> Grid {
    Grid {
        blocks: [inputs.chunks.count as u32, inputs.shape.heads as u32, 1],
        threads,
    }
}
