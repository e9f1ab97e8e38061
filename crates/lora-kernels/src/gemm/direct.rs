//! Products of small operands, read where they lie in whole tiles: no packing, for those that are used once or twice.
use super::isa::{Kernels, best};
use super::tile::{Out, Part, Strides};
use crate::matrix::{Write, span};

/// Rows of a matrix, `stride` values apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
}

impl<'a> View<'a> {
    /// The part whose first row and column these are.
    pub(crate) fn from(self, row: usize, column: usize) -> Self {
        Self {
            values: &self.values[row * self.stride + column..],
            stride: self.stride,
        }
    }

    /// Whether it has so many rows of so many columns.
    fn holds(self, rows: usize, columns: usize) -> bool {
        span(rows, columns, self.stride).is_some_and(|end| end <= self.values.len())
    }
}

/// A left operand: (m, k), or its transpose.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operand<'a> {
    /// m rows of k values.
    Rows(View<'a>),
    /// k rows of m values.
    Columns(View<'a>),
}

/// The shape of a product: (m, n) = (m, k) · (k, n).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
}

/// Where a product goes, with room for whole tiles: rows `stride` values apart.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) stride: usize,
    pub(crate) write: Write,
}

/// The tiles of this machine. Rows and columns of products are rounded up to whole tiles: all operands and the output
/// must have room for them, which asserts check; what stands there counts for nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Direct {
    kernels: &'static Kernels,
}

impl Direct {
    pub(crate) fn new() -> Self {
        Self { kernels: best() }
    }

    /// Rows of a tile.
    pub(crate) fn rows(self) -> usize {
        self.kernels.rows
    }

    /// Columns of a tile.
    pub(crate) fn columns(self) -> usize {
        self.kernels.columns
    }

    /// scale · left (m, k) · right (k, n).
    pub(crate) fn product(
        self,
        Size { m, n, k }: Size,
        scale: f32,
        left: Operand<'_>,
        right: View<'_>,
        to: Room<'_>,
    ) {
        let Kernels { rows, columns, .. } = *self.kernels;
        let padded_m = m.next_multiple_of(rows);
        let padded_n = n.next_multiple_of(columns / 2);
        let (tiles, left, [left_row, left_step], fits) = match left {
            Operand::Rows(left) => (
                self.kernels.along,
                left,
                [left.stride, 1],
                left.holds(padded_m, k),
            ),
            Operand::Columns(left) => (
                self.kernels.across,
                left,
                [1, left.stride],
                left.holds(k, padded_m),
            ),
        };
        assert!(fits, "left operand outside its values");
        assert!(right.holds(k, padded_n), "right operand outside its values");
        let room = View {
            values: to.values,
            stride: to.stride,
        };
        assert!(room.holds(padded_m, padded_n), "output outside its values");
        let strides = Strides {
            left_row,
            left_step,
            right_step: right.stride,
        };
        for row in (0..m).step_by(rows) {
            for column in (0..n).step_by(columns) {
                // SAFETY: whole tiles of all three operands lie inside their slices (asserted, with the same strides);
                // the kernels are those of this machine.
                unsafe {
                    let part = Part {
                        k,
                        left: left.values.as_ptr().add(row * left_row),
                        right: right.values.as_ptr().add(column),
                    };
                    let out = Out {
                        pointer: to.values.as_mut_ptr().add(row * to.stride + column),
                        stride: to.stride,
                        write: to.write,
                        scale,
                    };
                    tiles.of(n - column, columns)([part], strides, out);
                }
            }
        }
    }
}
