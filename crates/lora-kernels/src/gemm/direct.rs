//! Products of small operands, read where they lie in whole tiles: no packing, for those that are used once or twice.
use super::isa::{Kernels, Pair, best};
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
        Self { values: &self.values[row * self.stride + column..], stride: self.stride }
    }

    /// The last value of so many rows, counted from the first, and so many columns.
    fn end(self, rows: usize, columns: usize) -> usize {
        if rows == 0 || columns == 0 { 0 } else { (rows - 1) * self.stride + columns }
    }
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

    /// dst (m, n) = scale · left (m, k) · right (k, n), or += it with `accumulate`.
    pub(crate) fn along(
        self,
        (m, n, k): (usize, usize, usize),
        accumulate: bool,
        scale: f32,
        left: View<'_>,
        right: View<'_>,
        dst: (&mut [f32], usize),
    ) {
        assert!(left.end(m.next_multiple_of(self.rows()), k) <= left.values.len(), "left operand outside its values");
        let strides = Strides { left_row: left.stride, left_step: 1, right_step: right.stride };
        self.run(self.kernels.along, (m, n, k), accumulate, scale, left, strides, right, dst);
    }

    /// dst (m, n) = scale · leftᵀ · right, where left is (k, m) and right (k, n), or += it with `accumulate`.
    pub(crate) fn across(
        self,
        (m, n, k): (usize, usize, usize),
        accumulate: bool,
        scale: f32,
        left: View<'_>,
        right: View<'_>,
        dst: (&mut [f32], usize),
    ) {
        assert!(left.end(k, m.next_multiple_of(self.rows())) <= left.values.len(), "left operand outside its values");
        let strides = Strides { left_row: 1, left_step: left.stride, right_step: right.stride };
        self.run(self.kernels.across, (m, n, k), accumulate, scale, left, strides, right, dst);
    }

    fn run(
        self,
        tiles: Pair<1>,
        (m, n, k): (usize, usize, usize),
        accumulate: bool,
        scale: f32,
        left: View<'_>,
        strides: Strides,
        right: View<'_>,
        (dst, dst_stride): (&mut [f32], usize),
    ) {
        let Kernels { rows, columns, .. } = *self.kernels;
        let (padded_m, padded_n) = (m.next_multiple_of(rows), n.next_multiple_of(columns / 2));
        assert!(right.end(k, padded_n) <= right.values.len(), "right operand outside its values");
        assert!(
            View { values: dst, stride: dst_stride }.end(padded_m, padded_n) <= dst.len(),
            "output outside its values"
        );
        for row in (0..m).step_by(rows) {
            for column in (0..n).step_by(columns) {
                // SAFETY: whole tiles of all three operands lie inside their slices (asserted here and by the callers, with
                // the same strides); the kernels are those of this machine.
                unsafe {
                    let left = left.values.as_ptr().add(row * strides.left_row);
                    let right = right.values.as_ptr().add(column);
                    let pointer = dst.as_mut_ptr().add(row * dst_stride + column);
                    let out = Out { pointer, stride: dst_stride, accumulate, scale };
                    tiles.of(n - column, columns)([Part { k, left, right }], strides, out);
                }
            }
        }
    }
}
