//! The forward pass.
use super::block::{Block, LANES, SCRATCH, Scratch};
use super::shape::{LINE, Shape};
use super::softmax::{soft_cap, softmax};
use super::task::Task;
use crate::layout::Layout;
use crate::memory::grow;
use crate::shared::SharedMut;
use crate::vector::exp;
use rayon::prelude::*;

/// Queries of a task.
const STRETCH: usize = 128;

/// What attention reads.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Queries, (T, heads · d), after rotary embedding.
    pub q: &'a [f32],
    /// Keys, (keys, kv_heads · d), after rotary embedding.
    pub k: &'a [f32],
    /// Values, (keys, kv_heads · d).
    pub v: &'a [f32],
    /// A score of each head, (heads), that stands in the softmax beside those of the keys and has no value (gpt-oss' attention
    /// sinks; Xiao et al. 2024).
    pub sinks: Option<&'a [f32]>,
}

/// What it writes.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// (T, heads · d).
    pub o: &'a mut [f32],
    /// Log-sum-exp of the scores, that of the sink among them, (T, heads).
    pub lse: &'a mut [f32],
}

/// o = softmax(scale · q·kᵀ + causal) · v for each segment, and the log-sum-exp.
///
/// # Panics
/// If the layout's rows lie outside the slices, heads do not fall into groups, or the window is 0.
pub fn forward(shape: Shape, layout: &Layout, inputs: Inputs<'_>, outputs: Outputs<'_>) {
    shape.check();
    assert!(
        inputs.sinks.is_none_or(|sinks| sinks.len() == shape.heads),
        "a sink of each head"
    );
    let o = SharedMut::new(outputs.o);
    let lse = SharedMut::new(outputs.lse);
    let segments = layout.segments();
    let parts = segments.iter().map(|s| s.queries.div_ceil(STRETCH)).max();
    let parts = parts.unwrap_or(0);
    (0..segments.len() * shape.kv_heads * parts)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|job| {
            let part = job % parts;
            let kv_head = job / parts % shape.kv_heads;
            let segment = &segments[job / parts / shape.kv_heads];
            let Some(task) = Task::new(shape, layout, segment, kv_head, part, STRETCH) else {
                return;
            };
            let to = Shared {
                job,
                o: &o,
                lse: &lse,
            };
            SCRATCH.with_borrow_mut(|scratch| attend(task, inputs, to, scratch));
        });
}

/// Outputs that tasks share.
#[derive(Clone, Copy)]
struct Shared<'a> {
    job: usize,
    o: &'a SharedMut<'a>,
    lse: &'a SharedMut<'a>,
}

fn attend(task: Task<'_>, inputs: Inputs<'_>, to: Shared<'_>, scratch: &mut Scratch) {
    let shape = task.shape;
    let keys = task.gather_keys(inputs.k, &mut scratch.k);
    let values = task.gather_keys(inputs.v, &mut scratch.v);
    for block in Block::all(task) {
        block.gather(inputs.q, &mut scratch.q, &mut scratch.q_t);
        grow(&mut scratch.p, block.len());
        let p = &mut scratch.p;
        let mut largest = [0f32; LANES];
        let mut totals = [0f32; LANES];
        for panel in block.panels() {
            block.scores(&panel, shape.scale, keys, &scratch.q_t, p);
            let seen = block.keys(panel.clone());
            for lane in panel.clone().step_by(LINE) {
                let scores = &mut p[seen.start * block.stride + lane..seen.end * block.stride];
                if let Some(cap) = shape.softcap {
                    soft_cap(scores, block.stride, cap);
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
        let rows = scratch.out.chunks_exact(shape.wide()).take(block.n);
        for (lane, out) in rows.enumerate() {
            let row = block.first + lane;
            let sink = inputs.sinks.map(|sinks| sinks[task.lse(row) % shape.heads]);
            let (inverse, lse) = normaliser(largest[lane], totals[lane], sink);
            // SAFETY: the heads of this key/value head in the rows of these queries belong to this task alone: `Layout`
            // gives each row of queries to one segment, and `Task::new` each query of a segment to one part.
            unsafe {
                let o = to.o.part(to.job, task.at(row), shape.head_dim);
                o.iter_mut()
                    .zip(out)
                    .for_each(|(o, value)| *o = value * inverse);
                to.lse.part(to.job, task.lse(row), 1)[0] = lse;
            }
        }
    }
}

/// What Σ e^(score − largest)·v is multiplied by, and the log-sum-exp, from the sum of e^(score − largest).
fn normaliser(largest: f32, total: f32, sink: Option<f32>) -> (f32, f32) {
    let Some(sink) = sink else {
        return (1.0 / total, largest + total.ln());
    };
    let all = largest.max(sink);
    let of_keys = exp(largest - all);
    let total = total * of_keys + exp(sink - all);
    (of_keys / total, all + total.ln())
}
