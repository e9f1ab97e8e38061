//! Causal attention over packed sequences with grouped queries, with or without a sliding window and a soft cap on the
//! scores: nothing above the diagonal or outside the window, no T×T tensor kept.
//!
//! A job walks tiles of queries, so its scratch is tile × keys. The forward pass saves the log-sum-exp of each row, from
//! which the backward pass recomputes the probabilities. [`Layout`] says which rows see which.
use crate::dispatch::vectorised;
use crate::layout::{Layout, Segment, Span};
use crate::matmul::{Mat, MatMut, matmul};
use crate::memory::grow;
use crate::shared::SharedMut;
use crate::vector::{dot, exp, max, sum, tanh};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Rows of a tile, about: queries times the heads that share their keys.
const ROWS: usize = 96;

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

impl Shape {
    /// Query heads that share a key/value head.
    fn group(self) -> usize {
        self.heads / self.kv_heads
    }
}

/// A tile of queries, for all heads that share one key/value head, and the keys that any of them sees. Its rows are head
/// after head, in each query after query.
#[derive(Debug, Clone, Copy)]
struct Tile<'a> {
    shape: Shape,
    layout: &'a Layout,
    segment: &'a Segment,
    kv_head: usize,
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
    /// The tiles of a segment.
    fn all(shape: Shape, layout: &'a Layout, segment: &'a Segment, kv_head: usize) -> impl Iterator<Item = Tile<'a>> {
        let queries = (ROWS / shape.group()).clamp(16, 64);
        (0..segment.queries).step_by(queries).map(move |first| {
            let n = queries.min(segment.queries - first);
            let start = (segment.past + first + 1).saturating_sub(shape.window.unwrap_or(usize::MAX));
            let keys = segment.past + first + n - start;
            Self { shape, layout, segment, kv_head, first, n, start, keys }
        })
    }

    /// Rows: queries times heads.
    fn rows(self) -> usize {
        self.n * self.shape.group()
    }

    /// Each row with its query and where its head's values begin in q and o.
    fn places(self) -> impl Iterator<Item = (usize, usize)> {
        let (Shape { heads, head_dim, .. }, group) = (self.shape, self.shape.group());
        (0..self.rows()).map(move |row| {
            let (head, query) = (self.kv_head * group + row / self.n, row % self.n);
            (query, (self.segment.query_start + self.first + query) * heads * head_dim + head * head_dim)
        })
    }

    /// Place of a row in the log-sum-exp.
    fn lse(self, row: usize) -> usize {
        let head = self.kv_head * self.shape.group() + row / self.n;
        (self.segment.query_start + self.first + row % self.n) * self.shape.heads + head
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

    /// The tile's key/value head of some rows of k or v.
    fn keys_of<'d>(self, data: &'d [f32], span: Span) -> Mat<'d> {
        let (d, width) = (self.shape.head_dim, self.shape.kv_heads * self.shape.head_dim);
        Mat::strided(&data[span.start * width + self.kv_head * d..], span.len, d, width)
    }

    /// The rows' values of q, o or their gradients, side by side: (rows, d) in `to`.
    fn gather<'t>(self, data: &[f32], to: &'t mut Vec<f32>) -> &'t [f32] {
        let d = self.shape.head_dim;
        grow(to, self.rows() * d);
        for (to, (_, at)) in to.chunks_exact_mut(d).zip(self.places()) {
            to.copy_from_slice(&data[at..at + d]);
        }
        &to[..self.rows() * d]
    }

    /// The way back of [`Tile::gather`].
    ///
    /// # Safety
    /// The tile's rows and heads belong to the caller alone.
    unsafe fn scatter(self, from: &[f32], data: SharedMut) {
        let d = self.shape.head_dim;
        for (from, (_, at)) in from.chunks_exact(d).zip(self.places()) {
            // SAFETY: handed on.
            unsafe { data.part(at, d) }.copy_from_slice(from);
        }
    }

    /// out (rows, keys) = scale · x·keysᵀ, where x is (rows, d).
    fn scores(self, scale: f32, x: &[f32], data: &[f32], out: &mut [f32]) {
        let rows = self.rows();
        for (at, span) in self.spans() {
            let dst = MatMut::strided(&mut out[at..], rows, span.len, self.keys);
            matmul(dst, false, scale, Mat::new(x, rows, self.shape.head_dim), self.keys_of(data, span).t(), false);
        }
    }

    /// out (rows, d) = scale · weights·values, where the weights are (rows, keys).
    fn values(self, scale: f32, weights: &[f32], data: &[f32], out: &mut [f32]) {
        let (rows, d) = (self.rows(), self.shape.head_dim);
        for (at, span) in self.spans() {
            let weights = Mat::strided(&weights[at..], rows, span.len, self.keys);
            matmul(MatMut::new(out, rows, d), at > 0, scale, weights, self.keys_of(data, span), false);
        }
    }

    /// keys += scale · weightsᵀ·x, where the weights are (rows, keys) and x is (rows, d).
    ///
    /// # Safety
    /// The tile's keys and key/value head belong to the caller alone.
    unsafe fn add_to_keys(self, scale: f32, weights: &[f32], x: &[f32], keys: SharedMut) {
        let (rows, d, width) = (self.rows(), self.shape.head_dim, self.shape.kv_heads * self.shape.head_dim);
        for (at, span) in self.spans() {
            let weights = Mat::strided(&weights[at..], rows, span.len, self.keys).t();
            // SAFETY: handed on.
            let to = unsafe { keys.matrix(span.start * width + self.kv_head * d, span.len, d, width) };
            matmul(to, true, scale, weights, Mat::new(x, rows, d), false);
        }
    }
}

/// Memory of one thread: a tile's queries, its output or its gradient, probabilities and their gradients.
#[derive(Default)]
struct Scratch {
    q: Vec<f32>,
    o: Vec<f32>,
    d: Vec<f32>,
    p: Vec<f32>,
    ds: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// o (T, heads · d) = softmax(scale · q·kᵀ + causal) · v for each segment; `lse` (T, heads) gets the log-sum-exp.
/// q is (T, heads · d); k and v are (keys, kv_heads · d). One job is one (segment, key/value head).
pub fn forward(shape: Shape, layout: &Layout, q: &[f32], k: &[f32], v: &[f32], o: &mut [f32], lse: &mut [f32]) {
    let (o, lse) = (SharedMut::new(o), SharedMut::new(lse));
    let jobs = (0..layout.segments().len() * shape.kv_heads).into_par_iter().with_max_len(1);
    jobs.for_each(|job| {
        let (segment, kv_head) = (&layout.segments()[job / shape.kv_heads], job % shape.kv_heads);
        SCRATCH.with_borrow_mut(|scratch| {
            for tile in Tile::all(shape, layout, segment, kv_head) {
                forward_tile(tile, q, k, v, o, lse, scratch);
            }
        });
    });
}

fn forward_tile(tile: Tile<'_>, q: &[f32], k: &[f32], v: &[f32], o: SharedMut, lse: SharedMut, scratch: &mut Scratch) {
    let Tile { shape, keys, .. } = tile;
    let Scratch { q: rows, o: out, p, .. } = scratch;
    grow(p, tile.rows() * keys);
    grow(out, tile.rows() * shape.head_dim);
    tile.scores(shape.scale, tile.gather(q, rows), k, p);
    for (row, (query, _)) in tile.places().enumerate() {
        let value = softmax_row(&mut p[row * keys..(row + 1) * keys], tile.visible(query), shape.softcap);
        // SAFETY: one element per (query, head); each belongs to one job.
        unsafe { lse.part(tile.lse(row), 1)[0] = value };
    }
    tile.values(1.0, p, v, out);
    // SAFETY: the heads of this key/value head in the rows of this segment belong to this job alone.
    unsafe { tile.scatter(out, o) };
}

vectorised! {
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
    let (d, kv_width) = (shape.head_dim, shape.kv_heads * shape.head_dim);
    let jobs = (0..layout.trees() * shape.kv_heads).into_par_iter().with_max_len(1);
    jobs.for_each(|job| {
        let (tree, kv_head) = (layout.tree(job / shape.kv_heads), job % shape.kv_heads);
        for row in tree.iter().flat_map(|s| s.query_start..s.query_start + s.queries) {
            // SAFETY: the columns of this key/value head in the rows of this tree belong to this job alone.
            unsafe {
                dk.part(row * kv_width + kv_head * d, d).fill(0.0);
                dv.part(row * kv_width + kv_head * d, d).fill(0.0);
            }
        }
        SCRATCH.with_borrow_mut(|scratch| {
            for tile in tree.iter().flat_map(|segment| Tile::all(shape, layout, segment, kv_head)) {
                backward_tile(tile, saved, scratch, dq, dk, dv);
            }
        });
    });
}

fn backward_tile(tile: Tile<'_>, saved: Saved<'_>, scratch: &mut Scratch, dq: SharedMut, dk: SharedMut, dv: SharedMut) {
    let Tile { shape, keys, .. } = tile;
    let d = shape.head_dim;
    let Scratch { q, o, d: out, p, ds } = scratch;
    for values in [&mut *p, &mut *ds] {
        grow(values, tile.rows() * keys);
    }
    grow(out, tile.rows() * d);
    let (q, d_o) = (tile.gather(saved.q, q), tile.gather(saved.d_o, o));
    tile.scores(shape.scale, q, saved.k, p);
    tile.scores(1.0, d_o, saved.v, ds);
    for (row, (query, at)) in tile.places().enumerate() {
        let delta = dot(&d_o[row * d..(row + 1) * d], &saved.o[at..at + d]);
        let (lse, scores) = (saved.lse[tile.lse(row)], row * keys..(row + 1) * keys);
        score_gradient(&mut p[scores.clone()], &mut ds[scores], tile.visible(query), shape.softcap, lse, delta);
    }
    tile.values(shape.scale, ds, saved.k, out);
    // SAFETY: dq's rows and heads of this tile, and the key/value head in the rows of this tree, belong to this job alone.
    unsafe {
        tile.scatter(out, dq);
        tile.add_to_keys(shape.scale, ds, q, dk);
        tile.add_to_keys(1.0, p, d_o, dv);
    }
}

vectorised! {
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
}
