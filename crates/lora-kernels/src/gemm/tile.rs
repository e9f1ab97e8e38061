//! The micro-kernel: a tile of the output held in registers while the inner dimension runs by.
use super::simd::Simd;
use crate::matrix::Write;

/// Values of the largest tile.
pub(super) const LARGEST: usize = 12 * 32;

/// A part of the inner dimension: `k` values of the tile's rows and of its columns, [`Strides`] apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) k: usize,
    pub(super) left: *const f32,
    pub(super) right: *const f32,
}

impl Part {
    /// Nothing.
    pub(super) const NONE: Self = Self {
        k: 0,
        left: std::ptr::null(),
        right: std::ptr::null(),
    };
}

/// Where a tile goes, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    pub(super) pointer: *mut f32,
    /// Values between two rows.
    pub(super) stride: usize,
    pub(super) write: Write,
    pub(super) scale: f32,
}

/// How operands lie in memory: values between two rows on the left, and between two steps of the inner dimension on either
/// side. Columns on the right are neighbours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Strides {
    pub(super) left_row: usize,
    pub(super) left_step: usize,
    pub(super) right_step: usize,
}

/// A tile as a function, of so many parts.
pub(super) type Tile<const PARTS: usize> = unsafe fn([Part; PARTS], Strides, Out);

/// out (ROWS, VECTORS · lanes) = scale · Σ over all parts of left[row][k] · right[k][column], or += it.
///
/// # Safety
/// The machine must have the instruction set; all that is read and written must be valid.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize, const PARTS: usize>(
    parts: [Part; PARTS],
    strides: Strides,
    out: Out,
) {
    let Strides {
        left_row,
        left_step,
        right_step,
    } = strides;
    // SAFETY: the caller vouches for the instruction set and for every value that the parts and `out` span.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        for part in parts {
            let mut left = part.left; // behind the last step these point outside: hence wrapping_add
            let mut right = part.right;
            for _ in 0..part.k / 4 {
                for _ in 0..4 {
                    step::<S, ROWS, VECTORS>(&mut sums, left, left_row, right);
                    left = left.wrapping_add(left_step);
                    right = right.wrapping_add(right_step);
                }
            }
            for _ in 0..part.k % 4 {
                step::<S, ROWS, VECTORS>(&mut sums, left, left_row, right);
                left = left.wrapping_add(left_step);
                right = right.wrapping_add(right_step);
            }
        }
        let scale = S::splat(&out.scale);
        for (row, sums) in sums.iter().enumerate() {
            for (vector, &sum) in sums.iter().enumerate() {
                let to = out.pointer.add(row * out.stride + vector * S::LANES);
                let value = if out.scale == 1.0 {
                    sum
                } else {
                    S::mul(sum, scale)
                };
                let value = match out.write {
                    Write::Replace => value,
                    Write::Add => S::add(S::load(to), value),
                };
                S::store(to, value);
            }
        }
    }
}

/// One step of the inner dimension.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn step<S: Simd, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[S::Vector; VECTORS]; ROWS],
    left: *const f32,
    left_row: usize,
    right: *const f32,
) {
    // SAFETY: the caller vouches for ROWS values on the left and VECTORS vectors on the right.
    unsafe {
        let mut columns = [S::zero(); VECTORS];
        for (vector, column) in columns.iter_mut().enumerate() {
            *column = S::load(right.add(vector * S::LANES));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let value = S::splat(left.add(row * left_row));
            for (sum, &column) in sums.iter_mut().zip(&columns) {
                *sum = S::fma(value, column, *sum);
            }
        }
    }
}
