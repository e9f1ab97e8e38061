//! Causal attention over packed sequences with grouped queries: nothing above the diagonal, no T×T tensor kept.
//!
//! One job is one (sequence, key/value head); it walks tiles of queries, so its scratch is tile × keys. The forward pass
//! saves the log-sum-exp of each row, from which the backward pass recomputes the probabilities.
use crate::matmul::{Mat, MatMut, matmul};
use crate::shared::SharedMut;
use crate::vector::{dot, exp, max, sum};
use rayon::prelude::*;

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
    /// What scores are multiplied by, 1/√d.
    pub scale: f32,
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
    /// Keys that precede the first query; query i sees keys 0..=past + i.
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

/// Scores of one tile of queries against their visible keys, as probabilities; returns the keys in view.
fn tile_scores(shape: Shape, q: &[f32], k: Mat<'_>, first: usize, past: usize, n: usize, scores: &mut [f32]) -> usize {
    let keys = past + first + n;
    let q = Mat::strided(q, n, shape.head_dim, shape.heads * shape.head_dim);
    matmul(MatMut::new(scores, n, keys), false, shape.scale, q, k.t(), false);
    keys
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
                let n = TILE.min(s.queries - first);
                let keys = s.past + first + n;
                let at = (s.query_start + first) * width + head * d;
                scores.resize(scores.len().max(n * keys), 0.0);
                let k = Mat::strided(&k[kv_at..], keys, d, kv_width);
                tile_scores(shape, &q[at..], k, first, s.past, n, scores);
                for i in 0..n {
                    let visible = s.past + first + i + 1;
                    let value = softmax_row(&mut scores[i * keys..(i + 1) * keys], visible);
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

/// Softmax over the first `visible` scores, zero behind them; returns the log-sum-exp.
fn softmax_row(row: &mut [f32], visible: usize) -> f32 {
    let (seen, hidden) = row.split_at_mut(visible);
    hidden.fill(0.0);
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
            let n = TILE.min(s.queries - first);
            let keys = first + n;
            let at = (s.query_start + first) * width + head * d;
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
                score_gradient(&mut p[at.clone()], &mut ds[at], first + i + 1, lse, delta);
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

/// One row: scores → probabilities (in `p`), dP → dS (in `ds`); both zero behind `visible`.
fn score_gradient(p: &mut [f32], ds: &mut [f32], visible: usize, lse: f32, delta: f32) {
    p[visible..].fill(0.0);
    ds[visible..].fill(0.0);
    for (p, ds) in p[..visible].iter_mut().zip(&mut ds[..visible]) {
        *p = exp(*p - lse);
        *ds = *p * (*ds - delta);
    }
}
