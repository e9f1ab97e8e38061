//! The backward pass (FlashAttention's, Dao et al. 2022: D = rowsum(dO∘O), dS = P∘(dO·Vᵀ − D)).
//!
//! Each task writes the gradients of its own queries and keys; what it has for earlier keys is added task after task, so
//! that the sums have one order, whatever the threads.
use super::block::SCRATCH;
use super::gradient::{Saved, Shared, differentiate};
use super::shape::Shape;
use super::task::Task;
use crate::gemm::View;
use crate::layout::Layout;
use crate::memory::grow;
use crate::shared::SharedMut;
use rayon::prelude::*;
use std::ops::Range;

/// What it writes; whatever stood there is overwritten.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// (T, heads · d).
    pub q: &'a mut [f32],
    /// (T, kv_heads · d).
    pub k: &'a mut [f32],
    /// (T, kv_heads · d).
    pub v: &'a mut [f32],
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
    if cut.units() >= ENOUGH {
        return 0;
    }
    let mut earlier = 0;
    for segment in 0..layout.segments().len() {
        for part in 0..cut.parts {
            earlier += cut.task(segment, part, 0).map_or(0, Task::earlier);
        }
    }
    earlier * 2 * shape.head_dim * shape.kv_heads
}

/// Queries of a task at least.
const STRETCH: usize = 128;
/// Independent (tree, key/value head) pairs from which each is one job; fewer are cut into tasks.
const ENOUGH: usize = 32;
/// Tasks that are wished for, and into how many parts a segment is cut at most for that.
const WISHED: usize = 12;
const MOST_PARTS: usize = 4;

/// The gradients of q, k and v.
///
/// # Panics
/// If the layout's keys are not the rows of its own queries (see [`Layout::keys_are_own_rows`]), its rows lie outside the
/// slices, heads do not fall into groups, or the window is 0.
pub fn backward(
    shape: Shape,
    layout: &Layout,
    saved: Saved<'_>,
    to: Gradients<'_>,
    workspace: &mut Workspace,
) {
    shape.check();
    assert!(
        layout.keys_are_own_rows(),
        "keys have gradients only where they are rows of queries"
    );
    let cut = Cut::of(shape, layout);
    if cut.units() >= ENOUGH {
        tree_after_tree(cut, saved, to);
    } else {
        task_after_task(cut, saved, to, workspace);
    }
}

/// How segments are cut into tasks. It depends on shapes alone, and with it the order of sums.
#[derive(Clone, Copy)]
struct Cut<'l> {
    shape: Shape,
    layout: &'l Layout,
    /// Parts of a segment.
    parts: usize,
}

impl<'l> Cut<'l> {
    fn of(shape: Shape, layout: &'l Layout) -> Self {
        let units = layout.trees() * shape.kv_heads;
        Self {
            shape,
            layout,
            parts: (WISHED / units.max(1)).clamp(1, MOST_PARTS),
        }
    }

    /// Trees times key/value heads.
    fn units(self) -> usize {
        self.layout.trees() * self.shape.kv_heads
    }

    /// A part of a segment, none if the segment is not that long.
    fn task(self, segment: usize, part: usize, kv_head: usize) -> Option<Task<'l>> {
        let segment = &self.layout.segments()[segment];
        let stretch = segment.queries.div_ceil(self.parts).max(STRETCH);
        Task::new(self.shape, self.layout, segment, kv_head, part, stretch)
    }

    /// (segment, part) of all tasks of one tree, in order.
    fn of_tree(self, tree: usize) -> impl Iterator<Item = (usize, usize)> {
        let segments: Range<usize> = self.layout.tree(tree);
        segments.flat_map(move |segment| (0..self.parts).map(move |part| (segment, part)))
    }
}

/// One job a tree and key/value head, in which each task adds to earlier keys at once.
fn tree_after_tree(cut: Cut<'_>, saved: Saved<'_>, to: Gradients<'_>) {
    let to = Shared {
        q: SharedMut::new(to.q),
        k: SharedMut::new(to.k),
        v: SharedMut::new(to.v),
    };
    let heads = cut.shape.kv_heads;
    let jobs = (0..cut.units()).into_par_iter().with_max_len(1);
    jobs.for_each(|job| {
        for (segment, part) in cut.of_tree(job / heads) {
            let Some(task) = cut.task(segment, part, job % heads) else {
                continue;
            };
            SCRATCH.with_borrow_mut(|scratch| {
                let [dk, dv] = differentiate(task, job, saved, &to, scratch);
                // SAFETY: the rows that a tree sees in this key/value head belong to this job alone: the layout's keys are
                // own rows, so that no two trees see the same.
                unsafe {
                    task.add_earlier(dk, job, &to.k);
                    task.add_earlier(dv, job, &to.v);
                }
            });
        }
    });
}

/// Where a task keeps the gradients of the keys and values that it sees of others: first those of the keys, behind them
/// those of the values.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    len: usize,
}

/// One job a task; what they have for earlier keys is kept, and added afterwards.
fn task_after_task(cut: Cut<'_>, saved: Saved<'_>, to: Gradients<'_>, workspace: &mut Workspace) {
    let heads = cut.shape.kv_heads;
    let d = cut.shape.head_dim;
    let segments = cut.layout.segments().len();
    let Workspace { earlier, offsets } = workspace;
    offsets.clear();
    let mut end = 0;
    for segment in 0..segments {
        for part in 0..cut.parts {
            offsets.push(end);
            let keys = cut.task(segment, part, 0).map_or(0, Task::earlier);
            end += keys * 2 * d * heads;
        }
    }
    grow(earlier, end);
    let place = |task: Task<'_>, segment: usize, part: usize, kv_head: usize| {
        let len = task.earlier() * d;
        let at = offsets[segment * cut.parts + part] + 2 * len * kv_head;
        Place { at, len }
    };
    {
        let to = Shared {
            q: SharedMut::new(to.q),
            k: SharedMut::new(to.k),
            v: SharedMut::new(to.v),
        };
        let kept = SharedMut::new(earlier);
        let jobs = (0..segments * cut.parts * heads).into_par_iter();
        jobs.with_max_len(1).for_each(|job| {
            let segment = job / heads / cut.parts;
            let part = job / heads % cut.parts;
            let kv_head = job % heads;
            let Some(task) = cut.task(segment, part, kv_head) else {
                return;
            };
            SCRATCH.with_borrow_mut(|scratch| {
                let gradients = differentiate(task, job, saved, &to, scratch);
                let Place { at, len } = place(task, segment, part, kv_head);
                for (i, from) in gradients.into_iter().enumerate() {
                    // SAFETY: each task of each key/value head has its own place.
                    let to = unsafe { kept.part(job, at + i * len, len) };
                    for (row, to) in to.chunks_exact_mut(d).enumerate() {
                        to.copy_from_slice(&from.from(row, 0).values[..d]);
                    }
                }
            });
        });
    }
    let to_k = SharedMut::new(to.k);
    let to_v = SharedMut::new(to.v);
    let kept = &*earlier;
    let jobs = (0..cut.units()).into_par_iter().with_max_len(1);
    jobs.for_each(|job| {
        let kv_head = job % heads;
        for (segment, part) in cut.of_tree(job / heads) {
            let Some(task) = cut.task(segment, part, kv_head) else {
                continue;
            };
            let Place { at, len } = place(task, segment, part, kv_head);
            let view = |values| View { values, stride: d };
            // SAFETY: as for `tree_after_tree`.
            unsafe {
                task.add_earlier(view(&kept[at..at + len]), job, &to_k);
                task.add_earlier(view(&kept[at + len..at + 2 * len]), job, &to_v);
            }
        }
    });
}
