//! Causal attention over packed sequences with grouped queries, with or without a sliding window and a soft cap on the
//! scores: nothing above the diagonal or outside the window, no T×T tensor kept.
//!
//! A task walks blocks of rows (a query of a head each), so its scratch is block × keys. Scores stand transposed, keys by
//! rows: the softmax then runs along vectors, and every product reads its operands where they lie. The forward pass saves
//! the log-sum-exp of each row, from which the backward pass recomputes the probabilities. [`Layout`] says which rows see
//! which.
mod block;
mod task;

use crate::gemm::View;
use crate::layout::Layout;
use crate::memory::grow;
use crate::shared::SharedMut;
use block::Scratch;
use rayon::prelude::*;
use std::cell::RefCell;
use task::Task;

/// Queries of a task of the forward pass.
const STRETCH: usize = 128;

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

    /// Values between two gathered rows of a head: an odd number of cache lines, so that a column of them does not fall
    /// into few sets of the cache.
    fn wide(self) -> usize {
        odd_lines(self.head_dim)
    }
}

/// `n`, rounded up to an odd number of cache lines.
fn odd_lines(n: usize) -> usize {
    (n.div_ceil(LINE) | 1) * LINE
}

/// Values in a cache line.
const LINE: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// o (T, heads · d) = softmax(scale · q·kᵀ + causal) · v for each segment; `lse` (T, heads) gets the log-sum-exp.
/// q is (T, heads · d); k and v are (keys, kv_heads · d).
pub fn forward(
    shape: Shape,
    layout: &Layout,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    o: &mut [f32],
    lse: &mut [f32],
) {
    let (o, lse) = (SharedMut::new(o), SharedMut::new(lse));
    let segments = layout.segments();
    let parts = segments
        .iter()
        .map(|s| s.queries.div_ceil(STRETCH))
        .max()
        .unwrap_or(0);
    let jobs = (0..segments.len() * shape.kv_heads * parts)
        .into_par_iter()
        .with_max_len(1);
    jobs.for_each(|job| {
        let (part, job) = (job % parts, job / parts);
        let (segment, kv_head) = (&segments[job / shape.kv_heads], job % shape.kv_heads);
        if let Some(task) = Task::new(shape, layout, segment, kv_head, part, STRETCH) {
            SCRATCH.with_borrow_mut(|scratch| block::forward(task, q, k, v, o, lse, scratch));
        }
    });
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

/// Memory of the backward pass, kept between calls.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Gradients of keys and values that a task sees of others.
    earlier: Vec<f32>,
    /// Where each task's begin.
    offsets: Vec<usize>,
}

impl Workspace {
    /// Values that it holds.
    #[must_use]
    pub fn values(&self) -> usize {
        self.earlier.len()
    }
}

/// Values that a [`Workspace`] holds after the backward pass of a layout.
#[must_use]
pub fn workspace_len(shape: Shape, layout: &Layout) -> usize {
    let cut = Cut::of(shape, layout);
    if cut.units >= ENOUGH {
        return 0;
    }
    let mut earlier = 0;
    for segment in 0..layout.segments().len() {
        for part in 0..cut.parts {
            let task = cut.task(shape, layout, segment, part, 0);
            earlier += task.map_or(0, Task::earlier);
        }
    }
    earlier * 2 * shape.head_dim * shape.kv_heads
}

/// Values that one thread holds while it works on sequences of at most so many tokens.
#[must_use]
pub fn scratch_len(shape: Shape, longest: usize) -> usize {
    block::scratch_len(shape, longest)
}

/// Independent (tree, key/value head) pairs from which each is one job; fewer are cut into tasks.
const ENOUGH: usize = 32;
/// Tasks that are wished for, and into how many parts a segment is cut at most for that.
const WISHED: usize = 12;
const MOST_PARTS: usize = 4;

/// How the backward pass cuts segments into tasks. It depends on shapes alone, and with it the order of sums.
#[derive(Clone, Copy)]
struct Cut {
    parts: usize,
    units: usize,
}

impl Cut {
    fn of(shape: Shape, layout: &Layout) -> Self {
        let units = layout.trees() * shape.kv_heads;
        Self {
            parts: (WISHED / units.max(1)).clamp(1, MOST_PARTS),
            units,
        }
    }

    fn task<'a>(
        self,
        shape: Shape,
        layout: &'a Layout,
        segment: usize,
        part: usize,
        kv_head: usize,
    ) -> Option<Task<'a>> {
        let segment = &layout.segments()[segment];
        Task::new(
            shape,
            layout,
            segment,
            kv_head,
            part,
            segment.queries.div_ceil(self.parts).max(STRETCH),
        )
    }
}

/// Writes dq, dk and dv (all overwritten) for a layout whose keys are the rows of its own segments (FlashAttention's
/// backward, Dao et al. 2022: D = rowsum(dO∘O), dS = P∘(dO·Vᵀ − D)). Each task writes the gradients of its own keys; what
/// it has for earlier ones is added task after task, so that the sums have one order, whatever the threads.
pub fn backward(
    shape: Shape,
    layout: &Layout,
    saved: Saved<'_>,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    Workspace { earlier, offsets }: &mut Workspace,
) {
    let to = Gradients {
        dq: SharedMut::new(dq),
        dk: SharedMut::new(dk),
        dv: SharedMut::new(dv),
    };
    let (cut, heads) = (Cut::of(shape, layout), shape.kv_heads);
    let in_tree = |tree: usize| {
        layout
            .tree(tree)
            .flat_map(move |segment| (0..cut.parts).map(move |part| (segment, part)))
    };
    if cut.units >= ENOUGH {
        let jobs = (0..cut.units).into_par_iter().with_max_len(1);
        return jobs.for_each(|job| {
            for (segment, part) in in_tree(job / heads) {
                let Some(task) = cut.task(shape, layout, segment, part, job % heads) else {
                    continue;
                };
                SCRATCH.with_borrow_mut(|scratch| {
                    let [dk, dv] = block::backward(task, saved, to, scratch);
                    // SAFETY: the rows of this tree in this key/value head belong to this job alone.
                    unsafe {
                        task.add_earlier(dk, to.dk);
                        task.add_earlier(dv, to.dv);
                    }
                });
            }
        });
    }
    offsets.clear();
    let mut end = 0;
    for segment in 0..layout.segments().len() {
        for part in 0..cut.parts {
            offsets.push(end);
            end += cut
                .task(shape, layout, segment, part, 0)
                .map_or(0, Task::earlier)
                * 2
                * shape.head_dim
                * heads;
        }
    }
    grow(earlier, end);
    let (kept, offsets) = (SharedMut::new(earlier), &*offsets);
    let place = |task: Task<'_>, segment: usize, part: usize, kv_head: usize| {
        let len = task.earlier() * shape.head_dim;
        (offsets[segment * cut.parts + part] + 2 * len * kv_head, len)
    };
    let jobs = (0..layout.segments().len() * cut.parts * heads)
        .into_par_iter()
        .with_max_len(1);
    jobs.for_each(|job| {
        let (segment, part, kv_head) = (
            job / heads / cut.parts,
            job / heads % cut.parts,
            job % heads,
        );
        let Some(task) = cut.task(shape, layout, segment, part, kv_head) else {
            return;
        };
        SCRATCH.with_borrow_mut(|scratch| {
            let gradients = block::backward(task, saved, to, scratch);
            let (at, len) = place(task, segment, part, kv_head);
            for (i, from) in gradients.into_iter().enumerate() {
                // SAFETY: each task of each key/value head has its own place.
                let to = unsafe { kept.part(at + i * len, len) };
                for (row, to) in to.chunks_exact_mut(shape.head_dim).enumerate() {
                    to.copy_from_slice(&from.from(row, 0).values[..shape.head_dim]);
                }
            }
        });
    });
    (0..cut.units)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|job| {
            let kv_head = job % heads;
            for (segment, part) in in_tree(job / heads) {
                let Some(task) = cut.task(shape, layout, segment, part, kv_head) else {
                    continue;
                };
                let (at, len) = place(task, segment, part, kv_head);
                // SAFETY: nobody writes them any more, and the rows of this tree in this head belong to this job alone.
                unsafe {
                    let earlier = |i: usize| View {
                        values: kept.part(at + i * len, len),
                        stride: shape.head_dim,
                    };
                    task.add_earlier(earlier(0), to.dk);
                    task.add_earlier(earlier(1), to.dv);
                }
            }
        });
}

/// What the backward pass writes.
#[derive(Clone, Copy)]
struct Gradients {
    dq: SharedMut,
    dk: SharedMut,
    dv: SharedMut,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::with_each;
    use crate::layout::Span;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0)
            .collect()
    }

    /// A beginning of `shared` rows, then two continuations of it, then a sequence alone.
    fn layout(shared: usize, own: [usize; 3]) -> (Layout, usize) {
        let (mut layout, beginning) = (
            Layout::default(),
            Span {
                start: 0,
                len: shared,
            },
        );
        layout.push(0, shared, [beginning]);
        layout.push(
            shared,
            own[0],
            [
                beginning,
                Span {
                    start: shared,
                    len: own[0],
                },
            ],
        );
        layout.push(
            shared + own[0],
            own[1],
            [
                beginning,
                Span {
                    start: shared + own[0],
                    len: own[1],
                },
            ],
        );
        let start = shared + own[0] + own[1];
        layout.start_tree();
        layout.push(start, own[2], [Span { start, len: own[2] }]);
        (layout, start + own[2])
    }

    fn all(shape: Shape, layout: &Layout, t: usize) -> [Vec<f32>; 5] {
        let (wide, narrow) = (
            t * shape.heads * shape.head_dim,
            t * shape.kv_heads * shape.head_dim,
        );
        let (q, k, v, d_o) = (
            values(wide, 1),
            values(narrow, 2),
            values(narrow, 3),
            values(wide, 4),
        );
        let (mut o, mut lse) = (vec![9.0; wide], vec![9.0; t * shape.heads]);
        forward(shape, layout, &q, &k, &v, &mut o, &mut lse);
        let [mut dq, mut dk, mut dv] = [wide, narrow, narrow].map(|n| vec![9.0; n]);
        let saved = Saved {
            q: &q,
            k: &k,
            v: &v,
            o: &o,
            lse: &lse,
            d_o: &d_o,
        };
        backward(
            shape,
            layout,
            saved,
            &mut dq,
            &mut dk,
            &mut dv,
            &mut Workspace::default(),
        );
        [o, lse, dq, dk, dv]
    }

    #[test]
    fn every_instruction_set_gives_the_same() {
        let sizes = [(4, 2, 3), (9, 3, 64), (5, 5, 44), (8, 1, 130), (40, 40, 8)];
        let masks = [
            (None, None),
            (Some(1), None),
            (Some(9), Some(3.0)),
            (Some(150), None),
        ];
        let shapes = sizes.iter().flat_map(|&(heads, kv_heads, head_dim)| {
            masks.map(|(window, softcap)| Shape {
                heads,
                kv_heads,
                head_dim,
                scale: 0.3,
                window,
                softcap,
            })
        });
        let (layout, t) = layout(37, [50, 3, 300]);
        let cases: Vec<_> = shapes
            .map(|shape| (shape, all(shape, &layout, t)))
            .collect();
        with_each(|name| {
            for (shape, want) in &cases {
                for (want, got) in want.iter().zip(&all(*shape, &layout, t)) {
                    let largest = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
                    for (i, (want, got)) in want.iter().zip(got).enumerate() {
                        assert!(
                            (want - got).abs() <= 2e-5 * largest,
                            "{name}, {shape:?}, {i}: {got} for {want}"
                        );
                    }
                }
            }
        });
    }
}
