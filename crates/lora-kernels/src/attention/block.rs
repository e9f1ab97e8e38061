//! Some rows of a task, and their products with its keys. In scores and probabilities a key is a row and a block's row is a lane.
use super::shape::{LINE, Shape, odd_lines};
use super::task::Task;
use crate::gemm::{Direct, Operand, Room, Rows, Size, View, transpose};
use crate::matrix::Write;
use crate::memory::grow;
use std::cell::RefCell;
use std::ops::Range;

/// Rows of a block at most: whole tiles and whole panels on every machine.
const ROWS: usize = 96;
/// Lanes of a block at most, and behind them.
pub(super) const LANES: usize = ROWS + LINE;

/// Memory of one thread.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Keys, values and their gradients, those in view, (keys, wide).
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) dk: Vec<f32>,
    pub(super) dv: Vec<f32>,
    /// Queries and dO of a block, (rows, wide), and transposed, (d, lanes).
    pub(super) q: Vec<f32>,
    pub(super) d_o: Vec<f32>,
    pub(super) q_t: Vec<f32>,
    pub(super) d_o_t: Vec<f32>,
    /// Probabilities and their gradients, (keys, lanes).
    pub(super) p: Vec<f32>,
    pub(super) ds: Vec<f32>,
    /// Output or gradient of the block's queries, (rows, wide).
    pub(super) out: Vec<f32>,
}

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Values that one thread holds while it works on sequences of at most so many tokens.
#[must_use]
pub fn scratch_len(shape: Shape, longest: usize) -> usize {
    let keys = longest.next_multiple_of(Direct::new().rows());
    let of_keys = 4 * keys * shape.wide();
    let of_rows = 3 * ROWS * shape.wide() + 2 * shape.head_dim * LANES;
    of_keys + of_rows + 2 * (keys + 1) * LANES
}

/// Some rows of a task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) task: Task<'a>,
    direct: Direct,
    /// First row.
    pub(super) first: usize,
    /// Rows.
    pub(super) n: usize,
    /// Values between two keys in scores.
    pub(super) stride: usize,
}

impl<'a> Block<'a> {
    pub(super) fn all(task: Task<'a>) -> impl Iterator<Item = Self> {
        (0..task.rows()).step_by(ROWS).map(move |first| {
            let n = ROWS.min(task.rows() - first);
            let direct = Direct::new();
            Self {
                task,
                direct,
                first,
                n,
                stride: odd_lines(n.next_multiple_of(panel(direct))),
            }
        })
    }

    /// The keys that some of the block's rows see, rounded outwards to whole tiles.
    pub(super) fn keys(self, rows: Range<usize>) -> Range<usize> {
        let tile = self.direct.rows();
        let first = self.task.visible(self.first + rows.start);
        let last = self.task.visible(self.first + rows.end - 1);
        first.start / tile * tile..last.end.next_multiple_of(tile)
    }

    /// The block's rows in panels, lanes that are worked on together.
    pub(super) fn panels(self) -> impl Iterator<Item = Range<usize>> {
        let panel = panel(self.direct);
        (0..self.n)
            .step_by(panel)
            .map(move |first| first..self.n.min(first + panel))
    }

    /// Values of scores: of all keys in view, and what tiles read behind the last.
    pub(super) fn len(self) -> usize {
        self.task.keys.next_multiple_of(self.direct.rows()) * self.stride + LANES
    }

    /// Gathers the block's rows of q, o or a gradient, and transposes them.
    pub(super) fn gather(self, data: &[f32], rows: &mut Vec<f32>, transposed: &mut Vec<f32>) {
        let shape = self.task.shape;
        self.task
            .gather(self.first..self.first + self.n, data, rows);
        grow(transposed, shape.head_dim * self.stride);
        let rows = Rows {
            values: rows,
            stride: shape.wide(),
            count: self.n,
        };
        transpose(rows, shape.head_dim, transposed, self.stride);
    }

    /// out (keys of the panel, its lanes) = scale · keys · rowsᵀ.
    pub(super) fn scores(
        self,
        panel: &Range<usize>,
        scale: f32,
        keys: View<'_>,
        rows_t: &[f32],
        out: &mut [f32],
    ) {
        let seen = self.keys(panel.clone());
        let size = Size {
            m: seen.len(),
            n: panel.len(),
            k: self.task.shape.head_dim,
        };
        let left = Operand::Rows(keys.from(seen.start, 0));
        let right = self.view(rows_t).from(0, panel.start);
        let to = Room {
            values: &mut out[seen.start * self.stride + panel.start..],
            stride: self.stride,
            write: Write::Replace,
        };
        self.direct.product(size, scale, left, right, to);
    }

    /// Scores, or transposed rows: lanes side by side.
    fn view(self, values: &[f32]) -> View<'_> {
        View {
            values,
            stride: self.stride,
        }
    }

    /// out (rows, wide) = scale · weightsᵀ · values.
    pub(super) fn values(self, scale: f32, weights: &[f32], values: View<'_>, out: &mut Vec<f32>) {
        let tile = self.direct.rows();
        let wide = self.task.shape.wide();
        grow(out, self.n.next_multiple_of(tile) * wide);
        for row in (0..self.n).step_by(tile) {
            let rows = row..self.n.min(row + tile);
            let first = self.task.visible(self.first + rows.start).start;
            let end = self.task.visible(self.first + rows.end - 1).end;
            let size = Size {
                m: rows.len(),
                n: self.task.shape.head_dim,
                k: end - first,
            };
            let left = Operand::Columns(self.view(weights).from(first, row));
            let to = Room {
                values: &mut out[row * wide..],
                stride: wide,
                write: Write::Replace,
            };
            self.direct
                .product(size, scale, left, values.from(first, 0), to);
        }
    }

    /// out (keys, wide) += scale · weights · rows.
    pub(super) fn add_to_keys(self, scale: f32, weights: &[f32], rows: &[f32], out: &mut [f32]) {
        let tile = self.direct.rows();
        let wide = self.task.shape.wide();
        let rows = View {
            values: rows,
            stride: wide,
        };
        for key in self.keys(0..self.n).step_by(tile) {
            let seeing = self.task.seeing(key..key + tile);
            let from = seeing.start.max(self.first) - self.first;
            let to = seeing.end.min(self.first + self.n) - self.first;
            if from >= to {
                continue;
            }
            let size = Size {
                m: tile,
                n: self.task.shape.head_dim,
                k: to - from,
            };
            let left = Operand::Rows(self.view(weights).from(key, from));
            let room = Room {
                values: &mut out[key * wide..],
                stride: wide,
                write: Write::Add,
            };
            self.direct
                .product(size, scale, left, rows.from(from, 0), room);
        }
    }

    /// The lanes of a panel that see one key alone, with that key.
    pub(super) fn only_keys(self, panel: &Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let lanes = panel.clone();
        lanes.filter_map(move |lane| {
            let visible = self.task.visible(self.first + lane);
            (visible.len() == 1).then_some((lane, visible.start))
        })
    }

    /// Writes `value` wherever a row of the panel does not see a key, within the panel's tiles.
    pub(super) fn mask(self, panel: &Range<usize>, value: f32, scores: &mut [f32]) {
        let tiles = self.keys(panel.clone());
        for lane in panel.clone() {
            let visible = self.task.visible(self.first + lane);
            for key in (tiles.start..visible.start).chain(visible.end..tiles.end) {
                scores[key * self.stride + lane] = value;
            }
        }
    }

    /// Zero for the panel's lanes at all keys of the block that are outside the panel's tiles.
    pub(super) fn clear_around(self, panel: &Range<usize>, scores: &mut [f32]) {
        let all = self.keys(0..self.n);
        let tiles = self.keys(panel.clone());
        for key in (all.start..tiles.start).chain(tiles.end..all.end) {
            scores[key * self.stride..][panel.clone()].fill(0.0);
        }
    }
}

/// Lanes that share one range of keys.
fn panel(direct: Direct) -> usize {
    direct.columns().max(LINE)
}
