//! Causal attention over packed sequences with grouped queries, with or without a sliding window and a soft cap on the
//! scores: nothing above the diagonal or outside the window, no T×T tensor kept.
//!
//! One job is one (sequence, key/value head); it walks tiles of queries, so its scratch is tile × keys. The forward pass
//! saves the log-sum-exp of each row, from which the backward pass recomputes the probabilities.
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

/// Queries of one job and the keys before them: `queries` rows follow `past` cached ones of the same sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First row of the queries in q and o.
    pub query_start: usize,
    /// Queries.
    pub queries: usize,
    /// First row of the keys in k and v.
    pub key_start: usize,
    /// Keys that precede the first query; query i sees keys up to past + i.
    pub past: usize,
}

/// The segments of packed sequences given by their cumulative lengths.
pub fn segments(starts: &[usize]) -> Vec<Segment> {
    let segment = |w: &[usize]| Segment { query_start: w[0], queries: w[1] - w[0], key_start: w[0], past: 0 };
    starts.windows(2).map(segment).collect()
}

fn jobs(segments: &[Segment], shape: Shape) -> impl IndexedParallelIterator<Item = (Segment, usize)> + '_ {
    let kv = shape.kv_heads;
    (0..segments.len() * kv).into_par_iter().map(move |j| (segments[j / kv], j % kv)).with_max_len(1)
}

/// A tile of queries and the keys that any of them sees.
#[derive(Debug, Clone, Copy)]
struct Tile {
    /// First query, counted in the segment.
    first: usize,
    /// Queries.
    n: usize,
    /// First key in view, counted in the sequence.
    start: usize,
    /// Keys in view.
    keys: usize,
    past: usize,
    window: usize,
}

impl Tile {
    fn of(shape: Shape, s: Segment, first: usize) -> Self {
        let n = TILE.min(s.queries - first);
        let window = shape.window.unwrap_or(usize::MAX);
        let start = (s.past + first + 1).saturating_sub(window);
        Self { first, n, start, keys: s.past + first + n - start, past: s.past, window }
    }

    /// The keys that query `i` of the tile sees, counted from the tile's first.
    fn visible(self, i: usize) -> Range<usize> {
        let end = self.past + self.first + i + 1;
        end.saturating_sub(self.window) - self.start..end - self.start
    }
}

/// o (T, heads · d) = softmax(scale · q·kᵀ + causal) · v for each segment; `lse` (T, heads) gets the log-sum-exp.
/// q is (T, heads · d); k and v are (keys, kv_heads · d).
pub fn forward(shape: Shape, segments: &[Segment], q: &[f32], k: &[f32], v: &[f32], o: &mut [f32], lse: &mut [f32]) {
    let (width, kv_width, d) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.head_dim);
    let group = shape.heads / shape.kv_heads;
    let (o, lse) = (SharedMut::new(o), SharedMut::new(lse));
    jobs(segments, shape).for_each_init(Vec::new, |scores: &mut Vec<f32>, (s, kv_head)| {
        let kv_at = s.key_start * kv_width + kv_head * d;
        for head in kv_head * group..(kv_head + 1) * group {
            for first in (0..s.queries).step_by(TILE) {
                let tile = Tile::of(shape, s, first);
                let Tile { n, keys, .. } = tile;
                let at = (s.query_start + first) * width + head * d;
                let kv_at = kv_at + tile.start * kv_width;
                scores.resize(scores.len().max(n * keys), 0.0);
                let (q, k) = (Mat::strided(&q[at..], n, d, width), Mat::strided(&k[kv_at..], keys, d, kv_width));
                matmul(MatMut::new(scores, n, keys), false, shape.scale, q, k.t(), false);
                for i in 0..n {
                    let value = softmax_row(&mut scores[i * keys..(i + 1) * keys], tile.visible(i), shape.softcap);
                    // SAFETY: one element per (row, head); each belongs to one job.
                    unsafe { lse.part((s.query_start + first + i) * shape.heads + head, 1)[0] = value };
                }
                let v = Mat::strided(&v[kv_at..], keys, d, kv_width);
                // SAFETY: the columns of this head in the rows of this tile belong to this job alone.
                let dst = unsafe { o.matrix(at, n, d, width) };
                matmul(dst, false, 1.0, Mat::new(scores, n, keys), v, false);
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

/// Writes dq, dk and dv (all overwritten) for packed sequences without a past (FlashAttention's backward, Dao et al.
/// 2022: D = rowsum(dO∘O), dS = P∘(dO·Vᵀ − D)).
pub fn backward(shape: Shape, segments: &[Segment], saved: Saved<'_>, dq: &mut [f32], dk: &mut [f32], dv: &mut [f32]) {
    let (dq, dk, dv) = (SharedMut::new(dq), SharedMut::new(dk), SharedMut::new(dv));
    jobs(segments, shape).for_each_init(
        || (Vec::new(), Vec::new()),
        |scratch: &mut (Vec<f32>, Vec<f32>), (s, kv_head)| backward_job(shape, s, kv_head, saved, scratch, dq, dk, dv),
    );
}

fn backward_job(
    shape: Shape,
    s: Segment,
    kv_head: usize,
    saved: Saved<'_>,
    (p, ds): &mut (Vec<f32>, Vec<f32>),
    dq: SharedMut,
    dk: SharedMut,
    dv: SharedMut,
) {
    let (width, kv_width, d) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.head_dim);
    let group = shape.heads / shape.kv_heads;
    let kv_at = s.key_start * kv_width + kv_head * d;
    for row in 0..s.queries {
        // SAFETY: the columns of this key/value head in the rows of this sequence belong to this job alone.
        unsafe {
            dk.part(kv_at + row * kv_width, d).fill(0.0);
            dv.part(kv_at + row * kv_width, d).fill(0.0);
        }
    }
    for head in kv_head * group..(kv_head + 1) * group {
        for first in (0..s.queries).step_by(TILE) {
            let tile = Tile::of(shape, s, first);
            let Tile { n, keys, .. } = tile;
            let at = (s.query_start + first) * width + head * d;
            let kv_at = kv_at + tile.start * kv_width;
            p.resize(p.len().max(n * keys), 0.0);
            ds.resize(ds.len().max(n * keys), 0.0);
            let k = Mat::strided(&saved.k[kv_at..], keys, d, kv_width);
            let v = Mat::strided(&saved.v[kv_at..], keys, d, kv_width);
            let q = Mat::strided(&saved.q[at..], n, d, width);
            let d_o = Mat::strided(&saved.d_o[at..], n, d, width);
            matmul(MatMut::new(p, n, keys), false, shape.scale, q, k.t(), false);
            matmul(MatMut::new(ds, n, keys), false, 1.0, d_o, v.t(), false);
            for i in 0..n {
                let row = at + i * width..at + i * width + d;
                let delta = dot(&saved.d_o[row.clone()], &saved.o[row]);
                let lse = saved.lse[(s.query_start + first + i) * shape.heads + head];
                let at = i * keys..(i + 1) * keys;
                score_gradient(&mut p[at.clone()], &mut ds[at], tile.visible(i), shape.softcap, lse, delta);
            }
            let (p, ds) = (Mat::new(p, n, keys), Mat::new(ds, n, keys));
            // SAFETY: as above; dq's rows and columns of this head and tile belong to this job alone.
            let (dq, dk, dv) = unsafe {
                (dq.matrix(at, n, d, width), dk.matrix(kv_at, keys, d, kv_width), dv.matrix(kv_at, keys, d, kv_width))
            };
            matmul(dq, false, shape.scale, ds, k, false);
            matmul(dk, true, shape.scale, ds.t(), q, false);
            matmul(dv, true, 1.0, p.t(), d_o, false);
        }
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
