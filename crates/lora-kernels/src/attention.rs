//! Causal attention over packed sequences with grouped queries, with or without a sliding window and a soft cap on the
//! scores: nothing above the diagonal or outside the window, no T×T tensor kept.
//!
//! A job walks tiles of queries, so its scratch is tile × keys. The forward pass saves the log-sum-exp of each row, from
//! which the backward pass recomputes the probabilities. [`Layout`] says which rows see which.
use crate::layout::{Layout, Segment, Span};
use crate::matmul::{Mat, MatMut, matmul};
use crate::shared::SharedMut;
use crate::vector::{dot, exp, max, sum, tanh};
use rayon::prelude::*;
use std::ops::Range;

/// Queries in a tile.
const TILE: usize = 64;

/// Shape of an attention layer.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; query head h uses key/value head h / (heads / kv_heads).
    pub kv_heads: usize,
    /// Width of a head, d.
    pub head_dim: usize,
    /// What scores are multiplied by, 1/√d for most.
    pub scale: f32,
    /// Keys that a query sees at most, itself included (i − j < window); None: all before it.
    pub window: Option<usize>,
    /// c of c·tanh(score/c), applied after the scale (Gemma 2).
    pub softcap: Option<f32>,
}

/// A tile of queries of one head and the keys that any of them sees.
#[derive(Debug, Clone, Copy)]
struct Tile<'a> {
    shape: Shape,
    layout: &'a Layout,
    segment: &'a Segment,
    /// First query, counted in the segment.
    first: usize,
    /// Queries.
    n: usize,
    /// First key in view, counted in the sequence.
    start: usize,
    /// Keys in view.
    keys: usize,
}

impl<'a> Tile<'a> {
    fn of(shape: Shape, layout: &'a Layout, segment: &'a Segment, first: usize) -> Self {
        let n = TILE.min(segment.queries - first);
        let start = (segment.past + first + 1).saturating_sub(shape.window.unwrap_or(usize::MAX));
        Self { shape, layout, segment, first, n, start, keys: segment.past + first + n - start }
    }

    /// Row of its first query in q and o.
    fn row(self) -> usize {
        self.segment.query_start + self.first
    }

    /// The keys that query `i` of the tile sees, counted from the tile's first.
    fn visible(self, i: usize) -> Range<usize> {
        let end = self.segment.past + self.first + i + 1;
        end.saturating_sub(self.shape.window.unwrap_or(usize::MAX)) - self.start..end - self.start
    }

    /// The rows of the keys in view: (which key the first is, rows).
    fn spans(self) -> impl Iterator<Item = (usize, Span)> + 'a {
        self.layout.spans(self.segment, self.start..self.start + self.keys)
    }

    /// One key/value head of some rows of k or v.
    fn rows<'d>(self, data: &'d [f32], kv_head: usize, span: Span) -> Mat<'d> {
        let (d, width) = (self.shape.head_dim, self.shape.kv_heads * self.shape.head_dim);
        Mat::strided(&data[span.start * width + kv_head * d..], span.len, d, width)
    }

    /// out (n, keys) = scale · x·rowsᵀ, where x is (n, d).
    fn scores(self, scale: f32, x: Mat<'_>, data: &[f32], kv_head: usize, out: &mut [f32]) {
        for (at, span) in self.spans() {
            let dst = MatMut::strided(&mut out[at..], self.n, span.len, self.keys);
            matmul(dst, false, scale, x, self.rows(data, kv_head, span).t(), false);
        }
    }
}

/// o (T, heads · d) = softmax(scale · q·kᵀ + causal) · v for each segment; `lse` (T, heads) gets the log-sum-exp.
/// q is (T, heads · d); k and v are (keys, kv_heads · d). One job is one (segment, key/value head).
pub fn forward(shape: Shape, layout: &Layout, q: &[f32], k: &[f32], v: &[f32], o: &mut [f32], lse: &mut [f32]) {
    let (width, d, kv) = (shape.heads * shape.head_dim, shape.head_dim, shape.kv_heads);
    let group = shape.heads / kv;
    let (o, lse) = (SharedMut::new(o), SharedMut::new(lse));
    let jobs = (0..layout.segments().len() * kv).into_par_iter().with_max_len(1);
    jobs.for_each_init(Vec::new, |scores: &mut Vec<f32>, job| {
        let (segment, kv_head) = (&layout.segments()[job / kv], job % kv);
        for head in kv_head * group..(kv_head + 1) * group {
            for first in (0..segment.queries).step_by(TILE) {
                let tile = Tile::of(shape, layout, segment, first);
                let Tile { n, keys, .. } = tile;
                let at = tile.row() * width + head * d;
                scores.resize(scores.len().max(n * keys), 0.0);
                tile.scores(shape.scale, Mat::strided(&q[at..], n, d, width), k, kv_head, scores);
                for i in 0..n {
                    let value = softmax_row(&mut scores[i * keys..(i + 1) * keys], tile.visible(i), shape.softcap);
                    // SAFETY: one element per (row, head); each belongs to one job.
                    unsafe { lse.part((tile.row() + i) * shape.heads + head, 1)[0] = value };
                }
                for (key, span) in tile.spans() {
                    // SAFETY: the columns of this head in the rows of this tile belong to this job alone.
                    let dst = unsafe { o.matrix(at, n, d, width) };
                    let p = Mat::strided(&scores[key..], n, span.len, keys);
                    matmul(dst, key > 0, 1.0, p, tile.rows(v, kv_head, span), false);
                }
            }
        }
    });
}

/// Softmax over the visible scores, zero around them; returns the log-sum-exp.
fn softmax_row(row: &mut [f32], visible: Range<usize>, softcap: Option<f32>) -> f32 {
    row[visible.end..].fill(0.0);
    row[..visible.start].fill(0.0);
    let seen = &mut row[visible];
    if let Some(cap) = softcap {
        seen.iter_mut().for_each(|s| *s = cap * tanh(*s / cap));
    }
    let m = max(seen);
    for s in seen.iter_mut() {
        *s = exp(*s - m);
    }
    let total = sum(seen);
    let inverse = 1.0 / total;
    for s in seen.iter_mut() {
        *s *= inverse;
    }
    m + total.ln()
}

/// What the backward pass reads: the forward pass's inputs and results, and dO.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// (T, heads · d), after rotary embedding.
    pub q: &'a [f32],
    /// (T, kv_heads · d), after rotary embedding.
    pub k: &'a [f32],
    /// (T, kv_heads · d).
    pub v: &'a [f32],
    /// (T, heads · d).
    pub o: &'a [f32],
    /// (T, heads).
    pub lse: &'a [f32],
    /// dL/dO, (T, heads · d).
    pub d_o: &'a [f32],
}

/// Writes dq, dk and dv (all overwritten) for a layout whose keys are the rows of its own segments (FlashAttention's
/// backward, Dao et al. 2022: D = rowsum(dO∘O), dS = P∘(dO·Vᵀ − D)). One job is one (tree, key/value head), so that the
/// gradients of shared rows are summed in one order, whatever the threads.
pub fn backward(shape: Shape, layout: &Layout, saved: Saved<'_>, dq: &mut [f32], dk: &mut [f32], dv: &mut [f32]) {
    let (dq, dk, dv) = (SharedMut::new(dq), SharedMut::new(dk), SharedMut::new(dv));
    let (d, kv, kv_width) = (shape.head_dim, shape.kv_heads, shape.kv_heads * shape.head_dim);
    let group = shape.heads / kv;
    let jobs = (0..layout.trees() * kv).into_par_iter().with_max_len(1);
    jobs.for_each_init(Scratch::default, |scratch, job| {
        let (tree, kv_head) = (layout.tree(job / kv), job % kv);
        for row in tree.iter().flat_map(|s| s.query_start..s.query_start + s.queries) {
            // SAFETY: the columns of this key/value head in the rows of this tree belong to this job alone.
            unsafe {
                dk.part(row * kv_width + kv_head * d, d).fill(0.0);
                dv.part(row * kv_width + kv_head * d, d).fill(0.0);
            }
        }
        for segment in tree {
            for head in kv_head * group..(kv_head + 1) * group {
                for first in (0..segment.queries).step_by(TILE) {
                    let tile = Tile::of(shape, layout, segment, first);
                    backward_tile(tile, head, kv_head, saved, scratch, dq, dk, dv);
                }
            }
        }
    });
}

/// Probabilities and their gradients of one tile, (n, keys) each.
#[derive(Default)]
struct Scratch {
    p: Vec<f32>,
    ds: Vec<f32>,
}

fn backward_tile(
    tile: Tile<'_>,
    head: usize,
    kv_head: usize,
    saved: Saved<'_>,
    Scratch { p, ds }: &mut Scratch,
    dq: SharedMut,
    dk: SharedMut,
    dv: SharedMut,
) {
    let Tile { shape, n, keys, .. } = tile;
    let (d, width, kv_width) = (shape.head_dim, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let at = tile.row() * width + head * d;
    p.resize(p.len().max(n * keys), 0.0);
    ds.resize(ds.len().max(n * keys), 0.0);
    let q = Mat::strided(&saved.q[at..], n, d, width);
    let d_o = Mat::strided(&saved.d_o[at..], n, d, width);
    tile.scores(shape.scale, q, saved.k, kv_head, p);
    tile.scores(1.0, d_o, saved.v, kv_head, ds);
    for i in 0..n {
        let columns = at + i * width..at + i * width + d;
        let delta = dot(&saved.d_o[columns.clone()], &saved.o[columns]);
        let lse = saved.lse[(tile.row() + i) * shape.heads + head];
        let scores = i * keys..(i + 1) * keys;
        score_gradient(&mut p[scores.clone()], &mut ds[scores], tile.visible(i), shape.softcap, lse, delta);
    }
    for (key, span) in tile.spans() {
        let (p, ds) = (Mat::strided(&p[key..], n, span.len, keys), Mat::strided(&ds[key..], n, span.len, keys));
        let kv_at = span.start * kv_width + kv_head * d;
        // SAFETY: the columns of this key/value head in the rows of this tree, and dq's rows and columns of this head and
        // tile, belong to this job alone.
        let (dq, dk, dv) = unsafe {
            (
                dq.matrix(at, n, d, width),
                dk.matrix(kv_at, span.len, d, kv_width),
                dv.matrix(kv_at, span.len, d, kv_width),
            )
        };
        matmul(dq, key > 0, shape.scale, ds, tile.rows(saved.k, kv_head, span), false);
        matmul(dk, true, shape.scale, ds.t(), q, false);
        matmul(dv, true, 1.0, p.t(), d_o, false);
    }
}

/// One row: scores → probabilities (in `p`), dP → dS (in `ds`); both zero around `visible`.
fn score_gradient(p: &mut [f32], ds: &mut [f32], visible: Range<usize>, softcap: Option<f32>, lse: f32, delta: f32) {
    for row in [&mut *p, &mut *ds] {
        row[visible.end..].fill(0.0);
        row[..visible.start].fill(0.0);
    }
    let pairs = p[visible.clone()].iter_mut().zip(&mut ds[visible]);
    match softcap {
        None => {
            for (p, ds) in pairs {
                *p = exp(*p - lse);
                *ds = *p * (*ds - delta);
            }
        }
        Some(cap) => {
            for (p, ds) in pairs {
                let t = tanh(*p / cap);
                *p = exp(cap * t - lse);
                *ds = *p * (*ds - delta) * (1.0 - t * t);
            }
        }
    }
}
