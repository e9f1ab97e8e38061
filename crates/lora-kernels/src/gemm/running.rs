//! A product on its way: block after block of the right operand is packed, and tiles run over the rows.
use super::isa::Kernels;
use super::left::Left;
use super::packing::Packing;
use super::right::Right;
use super::split::Region;
use super::tile::{LARGEST, Out, Part, Strides};
use crate::matrix::Write;
use crate::memory::grow;
use crate::shared::{Pieces, SharedMut};
use std::ops::Range;

/// Rows whose block stays in the second-level cache while all panels of a task pass by.
const ROWS: usize = 192;

/// Memory of one thread: a block of packed columns (and that of the extra part behind it), and the values they are made of.
#[derive(Default)]
pub(super) struct Scratch {
    panels: Vec<f32>,
    rows: Vec<f32>,
}

/// Steps of the inner dimension of some columns of the right operand: what is packed together.
#[derive(Debug, Clone, Default)]
struct Block {
    k: Range<usize>,
    columns: Range<usize>,
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

/// What is multiplied: scale · (left · right + extra).
#[derive(Clone, Copy)]
pub(super) struct Operands<'p> {
    pub(super) kernels: &'static Kernels,
    pub(super) scale: f32,
    pub(super) left: Left<'p>,
    pub(super) right: &'p dyn Right,
    pub(super) extra: Option<(Left<'p>, &'p dyn Right)>,
}

/// A product on its way to its place.
pub(super) struct Running<'p> {
    pub(super) operands: Operands<'p>,
    pub(super) to: SharedMut<'p>,
    pub(super) columns: usize,
    pub(super) write: Write,
}

impl Running<'_> {
    /// All of one region.
    pub(super) fn region(&self, region: &Region, scratch: &mut Scratch) {
        let Operands {
            kernels,
            left,
            right,
            ..
        } = self.operands;
        // A panel that is used a few times is used where it was packed, in the first-level cache, if reading it alone reads
        // memory from end to end.
        let at_once = match left.is_few() && right.has_whole_columns() {
            true => kernels.columns.max(right.units().1),
            false => region.columns.len(),
        };
        let end = region.columns.end;
        for first in region.columns.clone().step_by(at_once) {
            let columns = first..end.min(first + at_once);
            let after = columns.end..end.min(columns.end + at_once);
            let part = Region {
                columns,
                ..region.clone()
            };
            self.blocks(&part, after, scratch);
        }
    }

    /// All blocks of the inner dimension for some columns, told which come after them.
    fn blocks(&self, region: &Region, after: Range<usize>, scratch: &mut Scratch) {
        let Operands {
            kernels,
            left,
            right,
            extra,
            ..
        } = self.operands;
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
        let steps_from = |first: usize| first..left.k.min(first + left.block);
        for first in (0..left.k.max(1)).step_by(left.block) {
            let k = steps_from(first);
            let values = &mut memory[..width * k.len()];
            right.pack(packing, k.clone(), region.columns.clone(), values, rows);
            let is_last = k.end == left.k;
            let packed = Packed {
                values,
                extra: if is_last { extra_memory } else { &[] },
            };
            let next = match is_last {
                true => Block {
                    k: steps_from(0),
                    columns: after.clone(),
                },
                false => Block {
                    k: steps_from(k.end),
                    columns: region.columns.clone(),
                },
            };
            let write = if first > 0 { Write::Add } else { self.write };
            self.tiles(region, (k, &next), packed, write);
        }
    }

    /// All tiles of one block of steps; meanwhile those of the next are on their way from memory.
    fn tiles(
        &self,
        region: &Region,
        (k, next): (Range<usize>, &Block),
        packed: Packed<'_>,
        write: Write,
    ) {
        let Operands {
            kernels,
            left,
            right: weight,
            extra,
            ..
        } = self.operands;
        let (rows, width) = (kernels.rows, kernels.columns);
        let at_once = (ROWS / rows).max(1);
        for group in region.panels.clone().step_by(at_once) {
            let group = group..region.panels.end.min(group + at_once);
            for (column, first) in region.columns.clone().step_by(width).enumerate() {
                let right = &packed.values[column * width * k.len()..][..width * k.len()];
                if group.start == region.panels.start {
                    let first = next.columns.end.min(next.columns.start + column * width);
                    let columns = first..next.columns.end.min(first + width);
                    weight.prefetch(next.k.clone(), columns);
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
            columns, packed, ..
        } = *self.operands.kernels;
        // Behind the last whole tile one of fewer rows does, so that few rows cost no more than their number.
        let run = packed[spot.live_rows - 1].of(spot.live_columns, columns);
        let stride = self.columns;
        let shape = Pieces {
            rows: spot.live_rows,
            columns: spot.live_columns,
            stride,
        };
        let scale = self.operands.scale;
        let fills_tile = spot.live_columns == columns || spot.live_columns == columns / 2;
        // SAFETY: panels hold as many values as their parts say (they are slices of that length); the tile lies inside the
        // output as far as it is live, and each element of the output belongs to one task (see `Split`); the kernels are
        // those of this machine.
        unsafe {
            let to = self
                .to
                .pieces(spot.task, spot.row * stride + spot.column, shape);
            if fills_tile {
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
