//! Products of matrices, with sums in f32 as on a GPU.
use super::memory::Allocations;
use crate::device::{Gemm, Matrix};
use crate::{Dtype, Error};
use half::bf16;

/// That the operands of all of a batch lie in allocations.
pub(super) fn check(gemm: &Gemm, memory: &Allocations) -> Result<(), Error> {
    let Some(last) = gemm.batch.count.checked_sub(1) else {
        return Ok(());
    };
    let (m, n, k) = (gemm.m, gemm.n, gemm.k);
    let extent = |matrix: Matrix, (rows, columns): (usize, usize), step: usize| {
        let (rows, columns) = if matrix.transposed {
            (columns, rows)
        } else {
            (rows, columns)
        };
        let values = match rows.checked_sub(1) {
            Some(others) if columns > 0 => others * matrix.stride + columns + last * step,
            _ => 0,
        };
        memory.check("multiply", matrix.address, values * matrix.dtype.bytes())
    };
    extent(gemm.a, (m, k), gemm.batch.a)?;
    extent(gemm.b, (k, n), gemm.batch.b)?;
    extent(gemm.c, (m, n), gemm.batch.c)
}

/// All products of a batch.
///
/// # Safety
/// The operands lie in memory that nothing refers to.
pub(super) unsafe fn multiply(gemm: &Gemm) {
    let Gemm { m, n, k, batch, .. } = *gemm;
    let mut sums = vec![0f32; n];
    for i in 0..batch.count {
        // SAFETY: the caller's promise.
        let (a, b) = unsafe {
            (
                dense(gemm.a, i * batch.a, m, k),
                dense(gemm.b, i * batch.b, k, n),
            )
        };
        for row in 0..m {
            sums.fill(0.0);
            for (j, &factor) in a[row * k..(row + 1) * k].iter().enumerate() {
                for (sum, &value) in sums.iter_mut().zip(&b[j * n..(j + 1) * n]) {
                    *sum += factor * value;
                }
            }
            for (column, sum) in sums.iter().enumerate() {
                let at = i * batch.c + row * gemm.c.stride + column;
                let mut value = gemm.alpha * sum;
                // SAFETY: the caller's promise.
                unsafe {
                    if gemm.beta != 0.0 {
                        value += gemm.beta * read(gemm.c, at);
                    }
                    write(gemm.c, at, value);
                }
            }
        }
    }
}

/// (rows, columns) of an operand, or of its transpose, in f32.
///
/// # Safety
/// It lies in memory that nothing refers to.
unsafe fn dense(matrix: Matrix, first: usize, rows: usize, columns: usize) -> Vec<f32> {
    let (down, right) = if matrix.transposed {
        (1, matrix.stride)
    } else {
        (matrix.stride, 1)
    };
    let mut values = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        // SAFETY: the caller's promise.
        values.extend(
            (0..columns).map(|column| unsafe { read(matrix, first + row * down + column * right) }),
        );
    }
    values
}

unsafe fn read(matrix: Matrix, at: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        match matrix.dtype {
            Dtype::F32 => *(matrix.address as *const f32).add(at),
            _ => (*(matrix.address as *const bf16).add(at)).to_f32(),
        }
    }
}

unsafe fn write(matrix: Matrix, at: usize, value: f32) {
    // SAFETY: the caller's promise.
    unsafe {
        match matrix.dtype {
            Dtype::F32 => *(matrix.address as *mut f32).add(at) = value,
            _ => *(matrix.address as *mut bf16).add(at) = bf16::from_f32(value),
        }
    }
}
