//! The rule's way back. What the forward pass made between is made again.
use super::forward::{Each, a_chunk_and_head, a_warp_a_token, size};
use super::room::Room;
use super::{DeltaInputs, DeltaShape};
use crate::device::Grid;
use crate::ops::chunks::CHUNK;
use crate::ops::{Args, check_mat, over_values};
use crate::{Error, Gpu, Mat, Tensor};
use std::ops::Range;

/// Where the gradients of what the rule reads go, all activations.
#[derive(Debug, Clone, Copy)]
pub struct DeltaGradients<'t> {
    /// Of q, k and v, (T, columns).
    pub mixed: Mat<'t>,
    /// Of what decay is made of, (T, value heads).
    pub a: Mat<'t>,
    /// Of what β is made of, (T, value heads).
    pub b: Mat<'t>,
}

impl Gpu {
    /// The gradients of what [`delta`](Self::delta) read, of sequences that begin in the batch, from that of o, activations
    /// (T, values). `memory` holds [`delta_bytes`](super::delta_bytes) of a way back.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn delta_backward(
        &self,
        inputs: DeltaInputs<'_>,
        d_o: Mat<'_>,
        to: DeltaGradients<'_>,
        memory: &Tensor,
    ) -> Result<(), Error> {
        inputs.check(self);
        let DeltaInputs { shape, chunks, .. } = inputs;
        let (rows, dtype) = (chunks.rows(), self.dtype());
        let heads = shape.value_heads;
        check_mat("gradient of o", d_o, dtype, rows, shape.values());
        check_mat("of q, k and v", to.mixed, dtype, rows, shape.columns());
        check_mat("of what decay is made of", to.a, dtype, rows, heads);
        check_mat("of what β is made of", to.b, dtype, rows, heads);
        let room = Room::of(memory, size(self, inputs, true));
        self.delta_states(inputs, None, &room)?;
        self.heads_of_rows(inputs, d_o, None, &room.d_o)?;
        let n = shape.value_dim;
        let count = chunks.count() * heads;
        let p = Each::of(&room.p, 0, CHUNK, CHUNK);
        let [d, fresh] = [&room.d_o, &room.fresh].map(|all| Each::of(all, 0, CHUNK, n));
        self.each_product(count, (p.t(), d.n()), fresh, (1.0, false))?;
        self.zero(&room.states, chunks.sequences() * shape.states())?;
        for step in chunks.steps().iter().rev() {
            self.delta_step_back(inputs, step.clone(), &room)?;
        }
        self.products_back(inputs, &room)?;
        self.scores_back(inputs, &room)?;
        self.delta_write(inputs, to, &room)?;
        self.delta_write_keys(inputs, to.mixed, &room)
    }

    /// From the gradients of the states behind the chunks of a step those of what is written there, and of the states before.
    fn delta_step_back(
        &self,
        inputs: DeltaInputs<'_>,
        step: Range<usize>,
        room: &Room,
    ) -> Result<(), Error> {
        let shape = inputs.shape;
        let (d, n) = (shape.key_dim, shape.value_dim);
        let first = step.start * shape.value_heads;
        let count = step.len() * shape.value_heads;
        self.delta_pass(inputs, &step, &room.behind, room)?;
        let of = |all, rows, columns| Each::of(all, first, rows, columns);
        let late = of(&room.late, CHUNK, d);
        let behind = of(&room.behind, d, n);
        let fresh = of(&room.fresh, CHUNK, n);
        self.each_product(count, (late.n(), behind.n()), fresh, (1.0, true))?;
        let values = CHUNK * n;
        self.rounded(
            (&room.fresh, &room.d_written),
            first * values,
            count * values,
        )?;
        let states = Each::of(&room.states, 0, d, n);
        let asked = of(&room.asked, CHUNK, d);
        let d_o = of(&room.d_o, CHUNK, n);
        self.each_product(count, (asked.t(), d_o.n()), states, (1.0, true))?;
        let erased = of(&room.erased, CHUNK, d);
        let d_written = of(&room.d_written, CHUNK, n);
        self.each_product(count, (erased.t(), d_written.n()), states, (-1.0, true))
    }

    /// The gradients of all that is multiplied, of all chunks at once.
    fn products_back(&self, inputs: DeltaInputs<'_>, room: &Room) -> Result<(), Error> {
        let DeltaInputs { shape, chunks, .. } = inputs;
        let DeltaShape {
            value_heads,
            key_dim: d,
            value_dim: n,
            ..
        } = shape;
        let count = chunks.count() * value_heads;
        let solved = Each::of(&room.solved, 0, CHUNK, CHUNK);
        let [before, behind] = [&room.before, &room.behind].map(|all| Each::of(all, 0, d, n));
        let wide = |all| Each::of(all, 0, CHUNK, n);
        let [written, d_o] = [&room.written, &room.d_o].map(wide);
        let [d_written, d_right] = [&room.d_written, &room.d_right].map(wide);
        let tile = |all| Each::of(all, 0, CHUNK, CHUNK);
        let of_keys = |all| Each::of(all, 0, CHUNK, d);
        let [d_asked, d_late, d_known] = [&room.d_asked, &room.d_late, &room.d_known].map(of_keys);
        self.each_product(count, (solved.t(), d_written.n()), d_right, (1.0, false))?;
        let d_l = tile(&room.d_l);
        self.each_product(count, (d_right.n(), written.t()), d_l, (-1.0, false))?;
        self.each_product(count, (d_right.n(), before.t()), d_known, (-1.0, false))?;
        self.each_product(count, (d_o.n(), before.t()), d_asked, (1.0, false))?;
        self.each_product(count, (written.n(), behind.t()), d_late, (1.0, false))?;
        let d_p = tile(&room.d_p);
        self.each_product(count, (d_o.n(), written.t()), d_p, (1.0, false))?;
        let args = Args::new().tensor(&room.before, 0).tensor(&room.behind, 0);
        let args = args.tensor(&room.sums_back, 2 * count * CHUNK);
        let grid = Grid {
            blocks: [count as u32, 1, 1],
            threads: 256,
        };
        self.launch("pairs_dots", grid, &args.int(shape.state()))
    }

    /// From the gradients of scores and of the system's matrix those of G and β, and of queries and keys.
    fn scores_back(&self, inputs: DeltaInputs<'_>, room: &Room) -> Result<(), Error> {
        let DeltaInputs { shape, chunks, .. } = inputs;
        let (d, group) = (shape.key_dim, shape.group());
        let heads = chunks.padded() * shape.value_heads;
        let args = Args::new().tensor(&room.d_p, 0).tensor(&room.p, 0);
        let args = args.tensor(&room.d_l, 0).tensor(&room.kk, 0);
        let args = args.tensor(&room.betas, 0).tensor(&room.sums, 0);
        let args = args.tensor(&room.sums_back, 0);
        let args = args.tensor(&room.sums_back, heads).int(group);
        self.launch("delta_score_sums", a_chunk_and_head(inputs, 256), &args)?;
        let count = chunks.count() * shape.key_heads;
        let values = count * CHUNK * CHUNK;
        let args = Args::new().tensor(&room.d_p, 0).tensor(&room.d_l, 0);
        let args = args.tensor(&room.betas, 0).tensor(&room.sums, 0);
        let args = args.tensor(&room.scores_back, 0);
        let args = args.tensor(&room.scores_back, values);
        let args = args.int(group).long(values);
        let grid = over_values(1, values);
        self.launch("delta_score_gradients", grid, &args)?;
        let [d_qk, d_kk] = [0, count].map(|from| Each::of(&room.scores_back, from, CHUNK, CHUNK));
        let [dq, dk] = [0, count].map(|from| Each::of(&room.keys_back, from, CHUNK, d));
        let [q, k] = [&room.q, &room.k].map(|all| Each::of(all, 0, CHUNK, d));
        self.each_product(count, (d_qk.n(), k.n()), dq, (1.0, false))?;
        self.each_product(count, (d_qk.t(), q.n()), dk, (1.0, false))?;
        self.each_product(count, (d_kk.n(), k.n()), dk, (1.0, true))
    }

    /// The gradients of values, and of what decay and β are made of.
    fn delta_write(
        &self,
        inputs: DeltaInputs<'_>,
        to: DeltaGradients<'_>,
        room: &Room,
    ) -> Result<(), Error> {
        let DeltaInputs { shape, chunks, .. } = inputs;
        let heads = chunks.padded() * shape.value_heads;
        let args = Args::new().tensor(&room.q, 0).tensor(&room.k, 0);
        let args = args.mat(inputs.values()).mat(inputs.a);
        let args = args.tensor(&room.d_asked, 0).tensor(&room.d_late, 0);
        let args = args.tensor(&room.d_known, 0).tensor(&room.d_right, 0);
        let args = args.tensor(&room.betas, 0).tensor(&room.sums, 0);
        let args = args.tensor(&room.sums_back, 0);
        let args = args.tensor(&room.sums_back, heads);
        let args = args.tensor(&room.sums_back, 2 * heads);
        let args = args.tensor(inputs.a_log, 0).tensor(inputs.dt_bias, 0);
        let args = args.tensor(chunks.of_chunks(), 0);
        let values = shape.keys()..shape.columns();
        let args = args.mat(to.mixed.of_columns(values)).mat(to.a).mat(to.b);
        let args = args.int(shape.value_heads).int(shape.group());
        let args = args.int(shape.key_dim).int(shape.value_dim);
        let grid = Grid {
            blocks: [chunks.count() as u32, shape.value_heads as u32, 1],
            threads: 256,
        };
        self.launch("delta_write", grid, &args)
    }

    /// The gradients of queries and keys.
    fn delta_write_keys(
        &self,
        inputs: DeltaInputs<'_>,
        to: Mat<'_>,
        room: &Room,
    ) -> Result<(), Error> {
        let DeltaInputs { shape, chunks, .. } = inputs;
        let keys = chunks.padded() * shape.key_heads * shape.key_dim;
        let args = Args::new().tensor(&room.q, 0).tensor(&room.k, 0);
        let args = args.tensor(&room.q_inverse, 0).tensor(&room.k_inverse, 0);
        let args = args.tensor(&room.keys_back, 0);
        let args = args.tensor(&room.keys_back, keys);
        let args = args.tensor(&room.d_asked, 0).tensor(&room.d_late, 0);
        let args = args.tensor(&room.d_known, 0);
        let args = args.tensor(&room.betas, 0).tensor(&room.sums, 0);
        let args = args.tensor(chunks.of_chunks(), 0).mat(to);
        let args = args
            .int(shape.key_heads)
            .int(shape.group())
            .int(shape.key_dim);
        self.launch("delta_write_keys", a_warp_a_token(inputs), &args)
    }
}
