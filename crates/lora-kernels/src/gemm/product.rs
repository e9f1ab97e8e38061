//! The product: tasks of some columns by some rows, each packing its columns and running tiles over its rows.
use super::isa::{Kernels, best};
use super::left::Left;
use super::right::{Packing, Right};
use super::tile::{Out, Part, Strides};
use crate::matmul::MatMut;
use crate::memory::grow;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Columns of a task at most, about: a block of them lies in the second-level cache beside a block of rows.
const COLUMNS: usize = 192;
/// Columns of a task at least: fewer don't pay for walking over all rows.
const FEWEST_COLUMNS: usize = 64;
/// Rows whose block stays in the second-level cache while all panels of a task pass by.
const ROWS: usize = 192;
/// Tasks a thread from which it does not matter whether they divide evenly.
const MANY: usize = 4;

/// Memory of one thread: a block of packed columns (and that of the extra part behind it), and the values they are made of.
#[derive(Default)]
struct Scratch {
    panels: Vec<f32>,
    rows: Vec<f32>,
}

/// Values that one thread packs at most, about, where the extra part has so many steps.
#[must_use]
pub fn scratch_len(extra: usize) -> usize {
    (COLUMNS + FEWEST_COLUMNS) * (super::BLOCK + extra)
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// dst = scale · (left · right + extra), or dst += it, where the extra part is a second product of few inner steps that is
/// added while the tile is in registers.
pub(crate) struct Product<'p> {
    kernels: &'static Kernels,
    dst: MatMut<'p>,
    accumulate: bool,
    scale: f32,
    left: Left<'p>,
    right: &'p dyn Right,
    extra: Option<(Left<'p>, &'p dyn Right)>,
}

impl<'p> Product<'p> {
    /// dst = left · right.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn new(dst: MatMut<'p>, left: Left<'p>, right: &'p dyn Right) -> Self {
        assert_shapes(&dst, left, right);
        assert!(
            left.block.is_multiple_of(right.units().0),
            "blocks of {} in units of {:?}",
            left.block,
            right.units()
        );
        Self {
            kernels: best(),
            dst,
            accumulate: false,
            scale: 1.0,
            left,
            right,
            extra: None,
        }
    }

    /// += instead of =, if `accumulate`.
    pub(crate) fn accumulate(self, accumulate: bool) -> Self {
        Self { accumulate, ..self }
    }

    pub(crate) fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// With left · right as the extra part.
    ///
    /// # Panics
    /// If the shapes do not fit, or its inner steps are more than a block.
    pub(crate) fn and(self, left: Left<'p>, right: &'p dyn Right) -> Self {
        assert_shapes(&self.dst, left, right);
        assert!(
            left.k <= left.block,
            "an extra part of {} steps is more than a block",
            left.k
        );
        Self {
            extra: Some((left, right)),
            ..self
        }
    }

    /// With other kernels, for which the left operand must be packed.
    #[cfg(test)]
    pub(super) fn with(self, kernels: &'static Kernels) -> Self {
        Self { kernels, ..self }
    }

    /// Computes it. Threads of the current rayon pool share the work if `parallel`.
    pub(crate) fn run(self, parallel: bool) {
        if self.dst.is_empty() {
            return;
        }
        let threads = if parallel {
            rayon::current_num_threads()
        } else {
            1
        };
        let split = Split::of(self.kernels, self.left, self.right, threads);
        if threads == 1 {
            return (0..split.tasks()).for_each(|task| self.task(split, task));
        }
        (0..split.tasks())
            .into_par_iter()
            .with_max_len(1)
            .for_each(|task| self.task(split, task));
    }
}

fn assert_shapes(dst: &MatMut<'_>, left: Left<'_>, right: &dyn Right) {
    let (rows, columns, (k, n)) = (dst.rows(), dst.columns(), right.shape());
    assert!(
        rows == left.rows && columns == n && left.k == k,
        "product: ({rows}, {columns}) = ({}, {}) · ({k}, {n})",
        left.rows,
        left.k
    );
}

/// How the output is cut into tasks.
#[derive(Clone, Copy)]
struct Split {
    columns: usize,
    column_tasks: usize,
    /// Panels of tile rows in a task.
    panels: usize,
    row_tasks: usize,
}

impl Split {
    fn of(kernels: &Kernels, left: Left<'_>, right: &dyn Right, threads: usize) -> Self {
        let (n, panels) = (right.shape().1, left.panels());
        let step = kernels.columns.max(right.units().1);
        let even = n.div_ceil(COLUMNS).next_multiple_of(threads);
        let columns = n
            .div_ceil(even.min(n / FEWEST_COLUMNS).max(1))
            .next_multiple_of(step);
        let column_tasks = n.div_ceil(columns);
        let is_even = column_tasks.is_multiple_of(threads) || column_tasks >= MANY * threads;
        let panels_each = panels.div_ceil(if is_even {
            1
        } else {
            threads / gcd(column_tasks, threads)
        });
        Self {
            columns,
            column_tasks,
            panels: panels_each,
            row_tasks: panels.div_ceil(panels_each),
        }
    }

    fn tasks(self) -> usize {
        self.column_tasks * self.row_tasks
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Product<'_> {
    fn task(&self, split: Split, task: usize) {
        let n = self.right.shape().1;
        let first = task / split.row_tasks * split.columns;
        let columns = first..n.min(first + split.columns);
        let panel = task % split.row_tasks * split.panels;
        let panels = panel..self.left.panels().min(panel + split.panels);
        SCRATCH.with_borrow_mut(|scratch| self.blocks(columns, panels, scratch));
    }

    /// All blocks of the inner dimension for some columns and some panels of rows.
    fn blocks(
        &self,
        columns: Range<usize>,
        panels: Range<usize>,
        Scratch {
            panels: memory,
            rows,
        }: &mut Scratch,
    ) {
        let (packing, width) = (
            Packing::of(self.kernels),
            columns.len().next_multiple_of(self.kernels.columns),
        );
        let extra_k = self.extra.map_or(0, |(left, _)| left.k);
        let needed = width * (self.left.block.min(self.left.k) + extra_k);
        grow(memory, needed);
        let (extra_memory, memory) = memory.split_at_mut(width * extra_k);
        if let Some((_, right)) = self.extra {
            right.pack(packing, 0..extra_k, columns.clone(), extra_memory, rows);
        }
        let (k, block) = (self.left.k, self.left.block);
        for first in (0..k.max(1)).step_by(block) {
            let steps = block.min(k - first);
            let packed = &mut memory[..width * steps];
            self.right
                .pack(packing, first..first + steps, columns.clone(), packed, rows);
            let extra = if first + steps == k {
                &*extra_memory
            } else {
                &[]
            };
            let accumulate = self.accumulate || first > 0;
            self.tiles(
                first..first + steps,
                columns.clone(),
                panels.clone(),
                packed,
                extra,
                accumulate,
            );
        }
    }

    /// All tiles of one block.
    fn tiles(
        &self,
        k: Range<usize>,
        columns: Range<usize>,
        panels: Range<usize>,
        packed: &[f32],
        extra: &[f32],
        accumulate: bool,
    ) {
        let (rows, width) = (self.kernels.rows, self.kernels.columns);
        for group in panels.clone().step_by((ROWS / rows).max(1)) {
            let group = group..panels.end.min(group + (ROWS / rows).max(1));
            for (column, first) in columns.clone().step_by(width).enumerate() {
                let right = &packed[column * width * k.len()..];
                for panel in group.clone() {
                    let left = self.left.panel(k.start, k.len(), panel);
                    let mut parts = [
                        Part {
                            k: k.len(),
                            left: left.as_ptr(),
                            right: right.as_ptr(),
                        },
                        Part::NONE,
                    ];
                    if let Some((more, _)) = self.extra.filter(|_| !extra.is_empty()) {
                        let left = more.panel(0, more.k, panel).as_ptr();
                        parts[1] = Part {
                            k: more.k,
                            left,
                            right: extra[column * width * more.k..].as_ptr(),
                        };
                    }
                    let live = (
                        rows.min(self.left.rows - panel * rows),
                        width.min(columns.end - first),
                    );
                    self.tile(parts, (panel * rows, first), live, accumulate);
                }
            }
        }
    }

    /// One tile, of which `live` (rows, columns) are inside the output.
    fn tile(&self, parts: [Part; 2], at: (usize, usize), live: (usize, usize), accumulate: bool) {
        let Kernels {
            rows,
            columns,
            packed,
            ..
        } = *self.kernels;
        let (run, strides) = (packed.of(live.1, columns), Strides::default());
        let stride = self.dst.row_stride();
        // SAFETY: panels hold as many values as their parts say; the tile lies inside the output as far as it is live, and
        // each element of the output belongs to one task; the kernels are those of this machine.
        unsafe {
            let to = self.dst.pointer().add(at.0 * stride + at.1);
            if live.0 == rows && (live.1 == columns || live.1 == columns / 2) {
                return run(
                    parts,
                    strides,
                    Out {
                        pointer: to,
                        stride,
                        accumulate,
                        scale: self.scale,
                    },
                );
            }
            let mut whole = [0f32; TILE];
            let out = Out {
                pointer: whole.as_mut_ptr(),
                stride: columns,
                accumulate: false,
                scale: self.scale,
            };
            run(parts, strides, out);
            for (row, values) in whole.chunks_exact(columns).take(live.0).enumerate() {
                for (column, &value) in values.iter().take(live.1).enumerate() {
                    let to = to.add(row * stride + column);
                    *to = if accumulate { *to + value } else { value };
                }
            }
        }
    }
}

/// Values of the largest tile.
pub(super) const TILE: usize = 12 * 32;
