//! A task's arithmetic, block of rows after block. In scores and probabilities a key is a row and a block's row is a lane.
use super::task::Task;
use super::{Gradients, LINE, Saved, Shape, odd_lines};
use crate::dispatch::vectorised;
use crate::gemm::{Direct, Operand, View, transpose};
use crate::memory::grow;
use crate::shared::SharedMut;
use crate::vector::{dot, exp, tanh};
use std::ops::Range;

/// Rows of a block at most: whole tiles and whole panels on every machine.
const ROWS: usize = 96;
/// Lanes of a block at most, and behind them.
const LANES: usize = ROWS + LINE;

/// Memory of one thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Keys, values and their gradients, those in view, (keys, wide).
    k: Vec<f32>,
    v: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
    /// Queries and dO of a block, (rows, wide), and transposed, (d, lanes).
    q: Vec<f32>,
    d_o: Vec<f32>,
    q_t: Vec<f32>,
    d_o_t: Vec<f32>,
    /// Probabilities and their gradients, (keys, lanes).
    p: Vec<f32>,
    ds: Vec<f32>,
    /// Output or gradient of the block's queries, (rows, wide).
    out: Vec<f32>,
}

/// Values of a [`Scratch`] for so many keys in view.
pub(super) fn scratch_len(shape: Shape, keys: usize) -> usize {
    let keys = keys.next_multiple_of(Direct::new().rows());
    let of_keys = 4 * keys * shape.wide();
    let of_rows = 3 * ROWS * shape.wide() + 2 * shape.head_dim * LANES;
    of_keys + of_rows + 2 * (keys + 1) * LANES
}

/// Some rows of a task.
#[derive(Debug, Clone, Copy)]
struct Block<'a> {
    task: Task<'a>,
    direct: Direct,
    /// First row.
    first: usize,
    /// Rows.
    n: usize,
    /// Values between two keys in scores.
    stride: usize,
}

impl<'a> Block<'a> {
    fn all(task: Task<'a>) -> impl Iterator<Item = Self> {
        (0..task.rows()).step_by(ROWS).map(move |first| {
            let (n, direct) = (ROWS.min(task.rows() - first), Direct::new());
            Self {
                task,
                direct,
                first,
                n,
                stride: odd_lines(n.next_multiple_of(panel(direct))),
            }
        })
    }

    /// The keys that some of the block's rows see, rounded outwards to whole tiles.
    fn keys(self, rows: Range<usize>) -> Range<usize> {
        let tile = self.direct.rows();
        let (first, last) = (
            self.task.visible(self.first + rows.start),
            self.task.visible(self.first + rows.end - 1),
        );
        first.start / tile * tile..last.end.next_multiple_of(tile)
    }

    /// The block's rows in panels, lanes that are worked on together.
    fn panels(self) -> impl Iterator<Item = Range<usize>> {
        let panel = panel(self.direct);
        (0..self.n)
            .step_by(panel)
            .map(move |first| first..self.n.min(first + panel))
    }

    /// Values of scores: of all keys in view, and what tiles read behind the last.
    fn len(self) -> usize {
        self.task.keys.next_multiple_of(self.direct.rows()) * self.stride + LANES
    }

    /// Gathers the block's rows of q, o or a gradient, and transposes them.
    fn gather(self, data: &[f32], rows: &mut Vec<f32>, transposed: &mut Vec<f32>) {
        let shape = self.task.shape;
        self.task
            .gather(self.first..self.first + self.n, data, rows);
        grow(transposed, shape.head_dim * self.stride);
        transpose(
            rows,
            shape.wide(),
            self.n,
            shape.head_dim,
            transposed,
            self.stride,
        );
    }

    /// out (keys of the panel, its lanes) = scale · keys · rowsᵀ.
    fn scores(
        self,
        panel: &Range<usize>,
        scale: f32,
        keys: View<'_>,
        rows_t: &[f32],
        out: &mut [f32],
    ) {
        let (seen, d) = (self.keys(panel.clone()), self.task.shape.head_dim);
        let right = View {
            values: rows_t,
            stride: self.stride,
        }
        .from(0, panel.start);
        let to = (
            &mut out[seen.start * self.stride + panel.start..],
            self.stride,
        );
        let left = Operand::Rows(keys.from(seen.start, 0));
        self.direct
            .product((seen.len(), panel.len(), d), false, scale, left, right, to);
    }

    /// out (rows, wide) = scale · weightsᵀ · values.
    fn values(self, scale: f32, weights: &[f32], values: View<'_>, out: &mut Vec<f32>) {
        let (tile, shape) = (self.direct.rows(), self.task.shape);
        grow(out, self.n.next_multiple_of(tile) * shape.wide());
        for row in (0..self.n).step_by(tile) {
            let rows = row..self.n.min(row + tile);
            let seen = self.task.visible(self.first + rows.start).start
                ..self.task.visible(self.first + rows.end - 1).end;
            let left = Operand::Columns(
                View {
                    values: weights,
                    stride: self.stride,
                }
                .from(seen.start, row),
            );
            let to = (&mut out[row * shape.wide()..], shape.wide());
            let size = (rows.len(), shape.head_dim, seen.len());
            self.direct
                .product(size, false, scale, left, values.from(seen.start, 0), to);
        }
    }

    /// out (keys, wide) += scale · weights · rows.
    fn add_to_keys(self, scale: f32, weights: &[f32], rows: &[f32], out: &mut [f32]) {
        let (tile, shape) = (self.direct.rows(), self.task.shape);
        for key in self.keys(0..self.n).step_by(tile) {
            let seeing = self.task.seeing(key..key + tile);
            let (from, to) = (
                seeing.start.max(self.first) - self.first,
                seeing.end.min(self.first + self.n) - self.first,
            );
            if from >= to {
                continue;
            }
            let left = Operand::Rows(
                View {
                    values: weights,
                    stride: self.stride,
                }
                .from(key, from),
            );
            let right = View {
                values: rows,
                stride: shape.wide(),
            }
            .from(from, 0);
            let dst = (&mut out[key * shape.wide()..], shape.wide());
            self.direct.product(
                (tile, shape.head_dim, to - from),
                true,
                scale,
                left,
                right,
                dst,
            );
        }
    }

    /// Writes `value` wherever a row of the panel does not see a key, within the panel's tiles.
    fn mask(self, panel: &Range<usize>, value: f32, scores: &mut [f32]) {
        let tiles = self.keys(panel.clone());
        for lane in panel.clone() {
            let visible = self.task.visible(self.first + lane);
            for key in (tiles.start..visible.start).chain(visible.end..tiles.end) {
                scores[key * self.stride + lane] = value;
            }
        }
    }

    /// Zero for the panel's lanes at all keys of the block that are outside the panel's tiles.
    fn clear_around(self, panel: &Range<usize>, scores: &mut [f32]) {
        let (all, tiles) = (self.keys(0..self.n), self.keys(panel.clone()));
        for key in (all.start..tiles.start).chain(tiles.end..all.end) {
            scores[key * self.stride..][panel.clone()].fill(0.0);
        }
    }
}

/// Lanes that share one range of keys.
fn panel(direct: Direct) -> usize {
    direct.columns().max(LINE)
}

pub(super) fn forward(
    task: Task<'_>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    o: SharedMut,
    lse: SharedMut,
    scratch: &mut Scratch,
) {
    let shape = task.shape;
    let (keys, values) = (
        task.gather_keys(k, &mut scratch.k),
        task.gather_keys(v, &mut scratch.v),
    );
    for block in Block::all(task) {
        block.gather(q, &mut scratch.q, &mut scratch.q_t);
        grow(&mut scratch.p, block.len());
        let p = &mut scratch.p;
        let (mut largest, mut totals) = ([0f32; LANES], [0f32; LANES]);
        for panel in block.panels() {
            block.scores(&panel, shape.scale, keys, &scratch.q_t, p);
            let seen = block.keys(panel.clone());
            for lane in panel.clone().step_by(LINE) {
                if let Some(cap) = shape.softcap {
                    soft_cap(
                        &mut p[seen.start * block.stride + lane..seen.end * block.stride],
                        block.stride,
                        cap,
                    );
                }
            }
            block.mask(&panel, f32::NEG_INFINITY, p);
            for lane in panel.clone().step_by(LINE) {
                let scores = &mut p[seen.start * block.stride + lane..seen.end * block.stride];
                let (m, total) = softmax(scores, block.stride);
                largest[lane..lane + LINE].copy_from_slice(&m);
                totals[lane..lane + LINE].copy_from_slice(&total);
            }
            block.clear_around(&panel, p);
        }
        block.values(1.0, p, values, &mut scratch.out);
        for (lane, out) in scratch
            .out
            .chunks_exact(shape.wide())
            .take(block.n)
            .enumerate()
        {
            let row = block.first + lane;
            let inverse = 1.0 / totals[lane];
            // SAFETY: the heads of this key/value head in the rows of these queries belong to this task alone.
            unsafe {
                let to = o.part(task.at(row), shape.head_dim);
                to.iter_mut()
                    .zip(out)
                    .for_each(|(to, value)| *to = value * inverse);
                lse.part(task.lse(row), 1)[0] = largest[lane] + totals[lane].ln();
            }
        }
    }
}

/// Writes dq and the gradients of the task's own keys and values; returns those of all in view, (keys, wide) each.
pub(super) fn backward<'s>(
    task: Task<'_>,
    saved: Saved<'_>,
    to: Gradients,
    scratch: &'s mut Scratch,
) -> [View<'s>; 2] {
    let shape = task.shape;
    let Scratch {
        k,
        v,
        dk,
        dv,
        q,
        d_o,
        q_t,
        d_o_t,
        p,
        ds,
        out,
    } = scratch;
    let (keys, values) = (task.gather_keys(saved.k, k), task.gather_keys(saved.v, v));
    for gradient in [&mut *dk, &mut *dv] {
        let len = task.keys.next_multiple_of(Direct::new().rows()) * shape.wide();
        grow(gradient, len);
        gradient[..len].fill(0.0);
    }
    for block in Block::all(task) {
        block.gather(saved.q, q, q_t);
        block.gather(saved.d_o, d_o, d_o_t);
        grow(p, block.len());
        grow(ds, block.len());
        let (mut lse, mut delta) = ([0f32; LANES], [0f32; LANES]);
        for (lane, d_o) in d_o.chunks_exact(shape.wide()).take(block.n).enumerate() {
            let (row, d) = (block.first + lane, shape.head_dim);
            lse[lane] = saved.lse[task.lse(row)];
            delta[lane] = dot(&d_o[..d], &saved.o[task.at(row)..][..d]);
        }
        for panel in block.panels() {
            block.scores(&panel, shape.scale, keys, q_t, p);
            block.scores(&panel, 1.0, values, d_o_t, ds);
            let seen = block.keys(panel.clone());
            for lane in panel.clone().step_by(LINE) {
                let scores = seen.start * block.stride + lane..seen.end * block.stride;
                let (lse, delta) = (&lse[lane..lane + LINE], &delta[lane..lane + LINE]);
                score_gradient(
                    &mut p[scores.clone()],
                    &mut ds[scores],
                    block.stride,
                    shape.softcap,
                    lse,
                    delta,
                );
            }
            for scores in [&mut *p, &mut *ds] {
                block.mask(&panel, 0.0, scores);
                block.clear_around(&panel, scores);
            }
        }
        block.values(shape.scale, ds, keys, out);
        for (lane, out) in out.chunks_exact(shape.wide()).take(block.n).enumerate() {
            // SAFETY: the heads of this key/value head in the rows of these queries belong to this task alone.
            unsafe { to.dq.part(task.at(block.first + lane), shape.head_dim) }
                .copy_from_slice(&out[..shape.head_dim]);
        }
        block.add_to_keys(shape.scale, ds, q, dk);
        block.add_to_keys(1.0, p, d_o, dv);
    }
    let [dk, dv] = [dk, dv].map(|values| View {
        values,
        stride: shape.wide(),
    });
    // SAFETY: the rows of its own keys in this key/value head are this task's to write; others add to them later.
    unsafe {
        task.write_own(dk, to.dk);
        task.write_own(dv, to.dv);
    }
    [dk, dv]
}

vectorised! {
    /// One vector of lanes: score s becomes c·tanh(s/c).
    fn soft_cap(scores: &mut [f32], stride: usize, cap: f32) {
        for lanes in scores.chunks_mut(stride).filter_map(|row| row.first_chunk_mut::<LINE>()) {
            lanes.iter_mut().for_each(|s| *s = cap * tanh(*s / cap));
        }
    }
}

vectorised! {
    /// One vector of lanes: scores become e^(score − largest); returns the largest and the sums.
    fn softmax(scores: &mut [f32], stride: usize) -> ([f32; LINE], [f32; LINE]) {
        let mut largest = [f32::NEG_INFINITY; LINE];
        for lanes in scores.chunks(stride).filter_map(|row| row.first_chunk::<LINE>()) {
            for i in 0..LINE {
                largest[i] = if lanes[i] > largest[i] { lanes[i] } else { largest[i] };
            }
        }
        let mut totals = [0.0; LINE];
        for lanes in scores.chunks_mut(stride).filter_map(|row| row.first_chunk_mut::<LINE>()) {
            for i in 0..LINE {
                lanes[i] = exp(lanes[i] - largest[i]);
                totals[i] += lanes[i];
            }
        }
        (largest, totals)
    }
}

vectorised! {
    /// One vector of lanes: scores → probabilities (in `p`), dP → dS (in `ds`).
    fn score_gradient(
        p: &mut [f32],
        ds: &mut [f32],
        stride: usize,
        softcap: Option<f32>,
        lse: &[f32],
        delta: &[f32],
    ) {
        let (Some(lse), Some(delta)) = (lse.first_chunk::<LINE>(), delta.first_chunk::<LINE>()) else { return };
        for (p, ds) in p.chunks_mut(stride).zip(ds.chunks_mut(stride)) {
            let (Some(p), Some(ds)) = (p.first_chunk_mut::<LINE>(), ds.first_chunk_mut::<LINE>()) else { return };
            match softcap {
                None => {
                    for i in 0..LINE {
                        p[i] = exp(p[i] - lse[i]);
                        ds[i] = p[i] * (ds[i] - delta[i]);
                    }
                }
                Some(cap) => {
                    for i in 0..LINE {
                        let t = tanh(p[i] / cap);
                        p[i] = exp(cap * t - lse[i]);
                        ds[i] = p[i] * (ds[i] - delta[i]) * (1.0 - t * t);
                    }
                }
            }
        }
    }
}
