//! Products of small operands, read where they lie in whole tiles: no packing, for those that are used once or twice.
use super::isa::{Kernels, best};
use super::tile::{Out, Part, Strides};

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

    /// The last value of so many rows, counted from the first, and so many columns.
    fn end(self, rows: usize, columns: usize) -> usize {
        if rows == 0 || columns == 0 {
            0
        } else {
            (rows - 1) * self.stride + columns
        }
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

    /// dst (m, n) = scale · left · right (k, n), or += it with `accumulate`.
    pub(crate) fn product(
        self,
        (m, n, k): (usize, usize, usize),
        accumulate: bool,
        scale: f32,
        left: Operand<'_>,
        right: View<'_>,
        (dst, dst_stride): (&mut [f32], usize),
    ) {
        let Kernels { rows, columns, .. } = *self.kernels;
        let (padded_m, padded_n) = (m.next_multiple_of(rows), n.next_multiple_of(columns / 2));
        let (tiles, left, (left_row, left_step), end) = match left {
            Operand::Rows(left) => (
                self.kernels.along,
                left,
                (left.stride, 1),
                left.end(padded_m, k),
            ),
            Operand::Columns(left) => (
                self.kernels.across,
                left,
                (1, left.stride),
                left.end(k, padded_m),
            ),
        };
        let strides = Strides {
            left_row,
            left_step,
            right_step: right.stride,
        };
        assert!(end <= left.values.len(), "left operand outside its values");
        assert!(
            right.end(k, padded_n) <= right.values.len(),
            "right operand outside its values"
        );
        assert!(
            View {
                values: dst,
                stride: dst_stride
            }
            .end(padded_m, padded_n)
                <= dst.len(),
            "output outside its values"
        );
        for row in (0..m).step_by(rows) {
            for column in (0..n).step_by(columns) {
                // SAFETY: whole tiles of all three operands lie inside their slices (asserted, with the same strides);
                // the kernels are those of this machine.
                unsafe {
                    let left = left.values.as_ptr().add(row * strides.left_row);
                    let right = right.values.as_ptr().add(column);
                    let pointer = dst.as_mut_ptr().add(row * dst_stride + column);
                    let out = Out {
                        pointer,
                        stride: dst_stride,
                        accumulate,
                        scale,
                    };
                    tiles.of(n - column, columns)([Part { k, left, right }], strides, out);
                }
            }
        }
    }
}
