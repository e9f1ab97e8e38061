//! The rule forward.
use super::room::{Room, Size};
use super::{DeltaInputs, DeltaShape};
use crate::device::{Batch, Grid};
use crate::ops::chunks::CHUNK;
use crate::ops::{Args, check_mat, over_values};
use crate::{Error, Gpu, Mat, Operand, Product, Tensor};
use std::ops::Range;

/// Heads of which one block makes the gates, a warp each.
const GATES: usize = 4;
/// Tokens of a block of eight warps.
const TOKENS: usize = 8;

/// Matrices of one shape end to end: the first one, and how many values each has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Each<'t> {
    first: Mat<'t>,
    values: usize,
}

impl<'t> Each<'t> {
    /// From matrix number `from` on, each (rows, columns).
    pub(super) fn of(tensor: &'t Tensor, from: usize, rows: usize, columns: usize) -> Self {
        let values = rows * columns;
        Self {
            first: tensor.strided(from * values, rows, columns, columns),
            values,
        }
    }

    pub(super) fn n(self) -> (Operand<'t>, usize) {
        (self.first.n(), self.values)
    }

    pub(super) fn t(self) -> (Operand<'t>, usize) {
        (self.first.t(), self.values)
    }
}

impl Gpu {
    /// c = alpha·a·b, or added to it, for `count` matrices each.
    pub(super) fn each_product(
        &self,
        count: usize,
        (a, b): ((Operand<'_>, usize), (Operand<'_>, usize)),
        to: Each<'_>,
        (alpha, adds): (f32, bool),
    ) -> Result<(), Error> {
        let product = Product::new(a.0, b.0, to.first).times(alpha);
        let product = if adds { product.adding() } else { product };
        let batch = Batch {
            count,
            a: a.1,
            b: b.1,
            c: to.values,
        };
        self.gemm_batched(product, batch)
    }

    /// o of the rule, activations (T, values). `states` are those that texts have left, f32 (texts, value heads, d, n), and
    /// become what they leave now; without them every segment begins with none. `memory` holds
    /// [`delta_bytes`](super::delta_bytes).
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn delta(
        &self,
        inputs: DeltaInputs<'_>,
        states: Option<&Tensor>,
        o: Mat<'_>,
        memory: &Tensor,
    ) -> Result<(), Error> {
        inputs.check(self);
        let DeltaInputs { shape, chunks, .. } = inputs;
        check_mat("o", o, self.dtype(), chunks.rows(), shape.values());
        if let Some(states) = states.filter(|_| inputs.are_tokens()) {
            return self.delta_token(inputs, states, o);
        }
        let room = Room::of(memory, size(self, inputs, false));
        self.delta_states(inputs, states, &room)?;
        let DeltaShape {
            value_heads,
            key_dim,
            value_dim,
            ..
        } = shape;
        let count = chunks.count() * value_heads;
        let asked = Each::of(&room.asked, 0, CHUNK, key_dim);
        let before = Each::of(&room.before, 0, key_dim, value_dim);
        let p = Each::of(&room.p, 0, CHUNK, CHUNK);
        let written = Each::of(&room.written, 0, CHUNK, value_dim);
        let to = Each::of(&room.fresh, 0, CHUNK, value_dim);
        self.each_product(count, (asked.n(), before.n()), to, (1.0, false))?;
        self.each_product(count, (p.n(), written.n()), to, (1.0, true))?;
        let rows = chunks.padded() * value_heads;
        let args = Args::new().tensor(&room.fresh, 0);
        let args = args.tensor(chunks.of_chunks(), 0).mat(o);
        let args = args.int(value_heads).long(rows).long(value_dim);
        self.launch("rows_of_heads", over_values(rows, value_dim), &args)
    }

    /// All but the output: the scores, the inverses, the states before all chunks and what is written.
    pub(super) fn delta_states(
        &self,
        inputs: DeltaInputs<'_>,
        states: Option<&Tensor>,
        room: &Room,
    ) -> Result<(), Error> {
        let DeltaInputs { shape, chunks, .. } = inputs;
        self.delta_gates(inputs, room)?;
        self.delta_keys(inputs, room)?;
        let betas = Some(&room.betas);
        self.heads_of_rows(inputs, inputs.values(), betas, &room.right)?;
        let (d, n) = (shape.key_dim, shape.value_dim);
        let count = chunks.count() * shape.value_heads;
        let solved = Each::of(&room.solved, 0, CHUNK, CHUNK);
        let [right, fresh] = [&room.right, &room.fresh].map(|all| Each::of(all, 0, CHUNK, n));
        let [known, erased] = [&room.known, &room.erased].map(|all| Each::of(all, 0, CHUNK, d));
        self.each_product(count, (solved.n(), right.n()), fresh, (1.0, false))?;
        self.each_product(count, (solved.n(), known.n()), erased, (1.0, false))?;
        let all = shape.states();
        let sequences = chunks.sequences();
        match states {
            Some(states) => {
                let texts = states.mat(chunks.check_texts(states, all), all);
                let to = room.states.mat(sequences, all);
                self.gather(texts, chunks.texts(), 0, to)?;
            }
            None => self.zero(&room.states, sequences * all)?,
        }
        for step in chunks.steps() {
            self.delta_step(inputs, step.clone(), room)?;
        }
        match states {
            Some(states) => {
                let texts = states.mat(chunks.check_texts(states, all), all);
                let from = room.states.mat(sequences, all);
                self.put(from, chunks.texts(), 0, texts)
            }
            None => Ok(()),
        }
    }

    /// The chunks of a step, one of each sequence that has so many: from the states before them what is written, and the
    /// states behind them.
    fn delta_step(
        &self,
        inputs: DeltaInputs<'_>,
        step: Range<usize>,
        room: &Room,
    ) -> Result<(), Error> {
        let shape = inputs.shape;
        let (d, n) = (shape.key_dim, shape.value_dim);
        let first = step.start * shape.value_heads;
        let count = step.len() * shape.value_heads;
        self.delta_pass(inputs, &step, &room.before, room)?;
        let erased = Each::of(&room.erased, first, CHUNK, d);
        let before = Each::of(&room.before, first, d, n);
        let fresh = Each::of(&room.fresh, first, CHUNK, n);
        self.each_product(count, (erased.n(), before.n()), fresh, (-1.0, true))?;
        let written = Each::of(&room.written, first, CHUNK, n);
        self.rounded(
            (&room.fresh, &room.written),
            first * CHUNK * n,
            count * CHUNK * n,
        )?;
        let late = Each::of(&room.late, first, CHUNK, d);
        let states = Each::of(&room.states, 0, d, n);
        self.each_product(count, (late.t(), written.n()), states, (1.0, true))
    }

    /// f32 values as products read them, from a place on.
    pub(super) fn rounded(
        &self,
        (from, to): (&Tensor, &Tensor),
        first: usize,
        len: usize,
    ) -> Result<(), Error> {
        let from = from.strided(first, 1, len, len);
        self.convert(from, 1.0, to.strided(first, 1, len, len))
    }

    /// The states of a step's sequences go to their places in `to`, and decay over the chunks of the step.
    pub(super) fn delta_pass(
        &self,
        inputs: DeltaInputs<'_>,
        step: &Range<usize>,
        to: &Tensor,
        room: &Room,
    ) -> Result<(), Error> {
        let shape = inputs.shape;
        let (rows, columns) = (step.len(), shape.states());
        let sums = step.start * shape.value_heads * CHUNK;
        let args = Args::new().tensor(&room.states, 0).tensor(&room.sums, sums);
        let args = args.tensor(to, step.start * columns);
        let args = args.long(shape.state()).int(shape.value_heads);
        let args = args.long(rows).long(columns);
        self.launch("delta_pass", over_values(rows, columns), &args)
    }

    fn delta_gates(&self, inputs: DeltaInputs<'_>, room: &Room) -> Result<(), Error> {
        let DeltaInputs { shape, chunks, .. } = inputs;
        let args = Args::new().mat(inputs.a).mat(inputs.b);
        let args = args.tensor(inputs.a_log, 0).tensor(inputs.dt_bias, 0);
        let args = args.tensor(chunks.of_chunks(), 0);
        let args = args.tensor(&room.betas, 0).tensor(&room.sums, 0);
        let blocks = shape.value_heads.div_ceil(GATES) as u32;
        let grid = Grid {
            blocks: [chunks.count() as u32, blocks, 1],
            threads: 32 * GATES as u32,
        };
        self.launch("delta_gates", grid, &args.int(shape.value_heads))
    }

    /// Queries and keys, their products, and what value heads make of them; then the inverses.
    fn delta_keys(&self, inputs: DeltaInputs<'_>, room: &Room) -> Result<(), Error> {
        let DeltaInputs { shape, chunks, .. } = inputs;
        let (d, group) = (shape.key_dim, shape.group());
        let args = Args::new().mat(inputs.mixed).tensor(chunks.of_chunks(), 0);
        let args = args.tensor(&room.q, 0).tensor(&room.k, 0);
        let args = args.tensor(&room.q_inverse, 0).tensor(&room.k_inverse, 0);
        let args = args.int(shape.key_heads).int(d);
        self.launch("delta_normalise", a_warp_a_token(inputs), &args)?;
        let count = chunks.count() * shape.key_heads;
        let [q, k] = [&room.q, &room.k].map(|all| Each::of(all, 0, CHUNK, d));
        for (side, to) in [(q, &room.qk), (k, &room.kk)] {
            let to = Each::of(to, 0, CHUNK, CHUNK);
            self.each_product(count, (side.n(), k.t()), to, (1.0, false))?;
        }
        let rows = chunks.padded() * shape.value_heads;
        let args = Args::new().tensor(&room.q, 0).tensor(&room.k, 0);
        let args = args.tensor(&room.betas, 0).tensor(&room.sums, 0);
        let args = args.tensor(&room.late, 0).tensor(&room.known, 0);
        let args = args.tensor(&room.asked, 0).int(group);
        let args = args.long(rows).long(d);
        self.launch("delta_heads", over_values(rows, d), &args)?;
        let values = rows * CHUNK;
        let args = Args::new().tensor(&room.qk, 0).tensor(&room.sums, 0);
        let args = args.tensor(&room.p, 0);
        let args = args.int(shape.value_heads).int(shape.key_heads);
        self.launch("ssd_scores", over_values(1, values), &args.long(values))?;
        let args = Args::new().tensor(&room.kk, 0).tensor(&room.betas, 0);
        let args = args.tensor(&room.sums, 0).tensor(&room.solved, 0);
        self.launch(
            "delta_solve",
            a_chunk_and_head(inputs, 64),
            &args.int(group),
        )
    }

    /// Rows of all value heads by chunk and head, times a factor of each if there are some.
    pub(super) fn heads_of_rows(
        &self,
        inputs: DeltaInputs<'_>,
        from: Mat<'_>,
        factors: Option<&Tensor>,
        to: &Tensor,
    ) -> Result<(), Error> {
        let DeltaInputs { shape, chunks, .. } = inputs;
        let (rows, width) = (chunks.padded() * shape.value_heads, shape.value_dim);
        let args = Args::new().mat(from).tensor(chunks.of_chunks(), 0);
        let args = args.maybe(factors).tensor(to, 0);
        let args = args.int(shape.value_heads).long(rows).long(width);
        self.launch("heads_of_rows", over_values(rows, width), &args)
    }
}

/// The memory that inputs ask for.
pub(super) fn size(gpu: &Gpu, inputs: DeltaInputs<'_>, is_back: bool) -> Size {
    Size {
        shape: inputs.shape,
        chunks: inputs.chunks.count(),
        sequences: inputs.chunks.sequences(),
        activations: gpu.dtype(),
        is_back,
    }
}

/// A block for each chunk and value head.
pub(super) fn a_chunk_and_head(inputs: DeltaInputs<'_>, threads: u32) -> Grid {
    let count = inputs.chunks.count() * inputs.shape.value_heads;
    Grid {
        blocks: [count as u32, 1, 1],
        threads,
    }
}

/// A warp for each token of each chunk and key head.
pub(super) fn a_warp_a_token(inputs: DeltaInputs<'_>) -> Grid {
    let blocks = inputs.chunks.count() * (CHUNK / TOKENS);
    Grid {
        blocks: [blocks as u32, inputs.shape.key_heads as u32, 1],
        threads: 32 * TOKENS as u32,
    }
}
