//! The backward pass of one task.
//!
//! A sink has no value, so that nothing of it is in D or dS: it is in the log-sum-exp alone.
//!
//! A query that sees one key and no sink has the probability 1, whatever its score: no gradient passes to it or to the key's own. There
//! D is dP itself, summed in the same order, so that dS is 0 exactly and not what rounding leaves of it.
use super::block::{Block, LANES, Scratch};
use super::shape::LINE;
use super::softmax::{Lanes, score_gradient};
use super::task::Task;
use crate::gemm::{Direct, View};
use crate::memory::grow;
use crate::shared::SharedMut;
use crate::vector::dot;

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
    /// Whether there were sinks.
    pub has_sinks: bool,
    /// dL/dO, (T, heads · d).
    pub d_o: &'a [f32],
}

/// Gradients that jobs share.
pub(super) struct Shared<'a> {
    pub(super) q: SharedMut<'a>,
    pub(super) k: SharedMut<'a>,
    pub(super) v: SharedMut<'a>,
}

/// Writes the gradients of the task's queries and of its own keys and values; returns those of all keys and values in
/// view, (keys, wide) each.
pub(super) fn differentiate<'s>(
    task: Task<'_>,
    job: usize,
    saved: Saved<'_>,
    to: &Shared<'_>,
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
    let keys = task.gather_keys(saved.k, k);
    let values = task.gather_keys(saved.v, v);
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
        let mut lse = [0f32; LANES];
        let mut delta = [0f32; LANES];
        let rows = d_o.chunks_exact(shape.wide()).take(block.n);
        for (lane, d_o) in rows.enumerate() {
            let row = block.first + lane;
            let o = &saved.o[task.at(row)..][..shape.head_dim];
            lse[lane] = saved.lse[task.lse(row)];
            delta[lane] = dot(&d_o[..shape.head_dim], o);
        }
        for panel in block.panels() {
            block.scores(&panel, shape.scale, keys, q_t, p);
            block.scores(&panel, 1.0, values, d_o_t, ds);
            let seen = block.keys(panel.clone());
            if !saved.has_sinks {
                for (lane, key) in block.only_keys(&panel) {
                    delta[lane] = ds[key * block.stride + lane];
                }
            }
            for lane in panel.clone().step_by(LINE) {
                let scores = seen.start * block.stride + lane..seen.end * block.stride;
                let lanes = Lanes {
                    p: &mut p[scores.clone()],
                    ds: &mut ds[scores],
                    stride: block.stride,
                    lse: line(&lse, lane),
                    delta: line(&delta, lane),
                };
                score_gradient(lanes, shape.softcap);
            }
            for scores in [&mut *p, &mut *ds] {
                block.mask(&panel, 0.0, scores);
                block.clear_around(&panel, scores);
            }
        }
        block.values(shape.scale, ds, keys, out);
        for (lane, out) in out.chunks_exact(shape.wide()).take(block.n).enumerate() {
            let at = task.at(block.first + lane);
            // SAFETY: the heads of this key/value head in the rows of these queries belong to this task alone, as in the
            // forward pass.
            let dq = unsafe { to.q.part(job, at, shape.head_dim) };
            dq.copy_from_slice(&out[..shape.head_dim]);
        }
        block.add_to_keys(shape.scale, ds, q, dk);
        block.add_to_keys(1.0, p, d_o, dv);
    }
    let [dk, dv] = [dk, dv].map(|values| View {
        values,
        stride: shape.wide(),
    });
    // SAFETY: the rows of its own keys in this key/value head, which are those of its queries, are this task's to write;
    // others add to them later.
    unsafe {
        task.write_own(dk, job, &to.k);
        task.write_own(dv, job, &to.v);
    }
    [dk, dv]
}

/// The lanes of one cache line.
fn line(lanes: &[f32; LANES], first: usize) -> &[f32; LINE] {
    let (lines, _) = lanes.as_chunks::<LINE>();
    &lines[first / LINE]
}
