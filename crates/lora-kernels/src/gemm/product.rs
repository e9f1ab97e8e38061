//! The product: tasks of some columns by some rows, each packing its columns and running tiles over its rows.
use super::isa::{Kernels, best};
use super::left::Left;
use super::packing::Packing;
use super::right::Right;
use super::split::{Region, Split};
use super::tile::{LARGEST, Out, Part, Strides};
use crate::matrix::{Place, Write};
use crate::memory::grow;
use crate::shared::{Pieces, SharedMut};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Rows whose block stays in the second-level cache while all panels of a task pass by.
const ROWS: usize = 192;

/// Memory of one thread: a block of packed columns (and that of the extra part behind it), and the values they are made of.
#[derive(Default)]
struct Scratch {
    panels: Vec<f32>,
    rows: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// scale · (left · right + extra), where the extra part is a second product of few inner steps that is added while the tile
/// is in registers.
#[derive(Clone, Copy)]
pub(crate) struct Product<'p> {
    kernels: &'static Kernels,
    scale: f32,
    left: Left<'p>,
    right: &'p dyn Right,
    extra: Option<(Left<'p>, &'p dyn Right)>,
    /// Computed by the thread that asks.
    is_alone: bool,
}

impl<'p> Product<'p> {
    /// left · right.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn new(left: Left<'p>, right: &'p dyn Right) -> Self {
        assert!(
            left.block.is_multiple_of(right.units().0),
            "blocks of {} in units of {:?}",
            left.block,
            right.units()
        );
        Self {
            kernels: best(),
            scale: 1.0,
            left,
            right,
            extra: None,
            is_alone: false,
        }
    }

    /// On this thread alone: one of many products that threads share.
    pub(crate) fn alone(self) -> Self {
        Self {
            is_alone: true,
            ..self
        }
    }

    pub(crate) fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// With left · right as the extra part.
    ///
    /// # Panics
    /// If its inner steps are more than a block.
    pub(crate) fn and(self, left: Left<'p>, right: &'p dyn Right) -> Self {
        assert!(
            left.is_one_block(),
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

    /// Computes it. Threads of the current rayon pool share the work.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn run(self, to: Place<'_>) {
        assert_shapes(&to, self.left, self.right);
        if let Some((left, right)) = self.extra {
            assert_shapes(&to, left, right);
        }
        assert!(
            self.left.panel_rows == self.kernels.rows,
            "the left operand is packed for other tiles"
        );
        let columns = to.columns();
        if to.rows() == 0 || columns == 0 {
            return;
        }
        let threads = match self.is_alone {
            true => 1,
            false => rayon::current_num_threads(),
        };
        let step = self.kernels.columns.max(self.right.units().1);
        let split = Split::of(columns, step, self.left.panels(), threads);
        let running = Running {
            product: self,
            columns,
            write: to.write(),
            to: SharedMut::new(to.into_values()),
        };
        let run = |task: usize| {
            SCRATCH.with_borrow_mut(|scratch| running.blocks(&split.task(task), scratch));
        };
        if threads == 1 {
            return (0..split.tasks()).for_each(run);
        }
        (0..split.tasks())
            .into_par_iter()
            .with_max_len(1)
            .for_each(run);
    }
}

fn assert_shapes(to: &Place<'_>, left: Left<'_>, right: &dyn Right) {
    let (rows, columns, (k, n)) = (to.rows(), to.columns(), right.shape());
    assert!(
        rows == left.rows && columns == n && left.k == k,
        "product: ({rows}, {columns}) = ({}, {}) · ({k}, {n})",
        left.rows,
        left.k
    );
}

/// Packed columns of the right operand, for one block of the inner dimension.
#[derive(Clone, Copy)]
struct Packed<'m> {
    values: &'m [f32],
    /// Of the extra part; empty but for the last block.
    extra: &'m [f32],
}

/// A tile's place in the output, and how many of its rows and columns are inside.
#[derive(Clone, Copy)]
struct Spot {
    task: usize,
    row: usize,
    column: usize,
    live_rows: usize,
    live_columns: usize,
}

/// A product on its way to its place.
struct Running<'p> {
    product: Product<'p>,
    to: SharedMut<'p>,
    columns: usize,
    write: Write,
}

impl Running<'_> {
    /// All blocks of the inner dimension for one region.
    fn blocks(&self, region: &Region, scratch: &mut Scratch) {
        let Product {
            kernels,
            left,
            right,
            extra,
            ..
        } = self.product;
        let packing = Packing::of_columns(kernels);
        let width = region.columns.len().next_multiple_of(kernels.columns);
        let extra_k = extra.map_or(0, |(left, _)| left.k);
        let needed = width * (left.block.min(left.k) + extra_k);
        grow(&mut scratch.panels, needed);
        let rows = &mut scratch.rows;
        let (extra_memory, memory) = scratch.panels.split_at_mut(width * extra_k);
        if let Some((_, right)) = extra {
            right.pack(
                packing,
                0..extra_k,
                region.columns.clone(),
                extra_memory,
                rows,
            );
        }
        for first in (0..left.k.max(1)).step_by(left.block) {
            let k = first..left.k.min(first + left.block);
            let values = &mut memory[..width * k.len()];
            right.pack(packing, k.clone(), region.columns.clone(), values, rows);
            let is_last = k.end == left.k;
            let packed = Packed {
                values,
                extra: if is_last { extra_memory } else { &[] },
            };
            let write = if first > 0 { Write::Add } else { self.write };
            let next = k.end..left.k.min(k.end + left.block);
            self.tiles(region, (k, next), packed, write);
        }
    }

    /// All tiles of one block of steps; meanwhile those of the next are on their way from memory.
    fn tiles(
        &self,
        region: &Region,
        (k, next): (Range<usize>, Range<usize>),
        packed: Packed<'_>,
        write: Write,
    ) {
        let Product {
            kernels,
            left,
            right: weight,
            extra,
            ..
        } = self.product;
        let (rows, width) = (kernels.rows, kernels.columns);
        let at_once = (ROWS / rows).max(1);
        for group in region.panels.clone().step_by(at_once) {
            let group = group..region.panels.end.min(group + at_once);
            for (column, first) in region.columns.clone().step_by(width).enumerate() {
                let right = &packed.values[column * width * k.len()..][..width * k.len()];
                if group.start == region.panels.start {
                    let columns = first..region.columns.end.min(first + width);
                    weight.prefetch(next.clone(), columns);
                }
                for panel in group.clone() {
                    let mut parts = [
                        Part {
                            k: k.len(),
                            left: left.panel(k.start, k.len(), panel).as_ptr(),
                            right: right.as_ptr(),
                        },
                        Part::NONE,
                    ];
                    if let Some((more, _)) = extra.filter(|_| !packed.extra.is_empty()) {
                        let right = &packed.extra[column * width * more.k..][..width * more.k];
                        parts[1] = Part {
                            k: more.k,
                            left: more.panel(0, more.k, panel).as_ptr(),
                            right: right.as_ptr(),
                        };
                    }
                    let spot = Spot {
                        task: region.task,
                        row: panel * rows,
                        column: first,
                        live_rows: rows.min(left.rows - panel * rows),
                        live_columns: width.min(region.columns.end - first),
                    };
                    self.tile(parts, spot, write);
                }
            }
        }
    }

    /// One tile.
    fn tile(&self, parts: [Part; 2], spot: Spot, write: Write) {
        let Kernels {
            rows,
            columns,
            packed,
            ..
        } = *self.product.kernels;
        // Behind the last whole tile one of fewer rows does, so that few rows cost little more than their number.
        let third = rows / packed.len();
        let thirds = spot.live_rows.div_ceil(third);
        let run = packed[thirds - 1].of(spot.live_columns, columns);
        let stride = self.columns;
        let shape = Pieces {
            rows: spot.live_rows,
            columns: spot.live_columns,
            stride,
        };
        let scale = self.product.scale;
        let fills_tile = spot.live_columns == columns || spot.live_columns == columns / 2;
        // SAFETY: panels hold as many values as their parts say (they are slices of that length); the tile lies inside the
        // output as far as it is live, and each element of the output belongs to one task (see `Split`); the kernels are
        // those of this machine.
        unsafe {
            let to = self
                .to
                .pieces(spot.task, spot.row * stride + spot.column, shape);
            if spot.live_rows == thirds * third && fills_tile {
                let out = Out {
                    pointer: to,
                    stride,
                    write,
                    scale,
                };
                return run(parts, Strides::default(), out);
            }
            let mut whole = [0f32; LARGEST];
            let out = Out {
                pointer: whole.as_mut_ptr(),
                stride: columns,
                write: Write::Replace,
                scale,
            };
            run(parts, Strides::default(), out);
            for (row, values) in whole.chunks_exact(columns).take(spot.live_rows).enumerate() {
                for (column, &value) in values.iter().take(spot.live_columns).enumerate() {
                    let to = to.add(row * stride + column);
                    *to = match write {
                        Write::Replace => value,
                        Write::Add => *to + value,
                    };
                }
            }
        }
    }
}
