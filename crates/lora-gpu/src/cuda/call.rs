//! A product as cuBLAS is asked for it. It counts matrices by columns and we by rows: a row-major matrix is its own transpose
//! there, so c = a · b is asked for as cᵀ = bᵀ · aᵀ.
use crate::Dtype;
use crate::device::{Gemm, Matrix};
use cudarc::cublas::sys::{self as blas, cublasStatus_t as Status};
use std::ffi::{c_int, c_longlong, c_void};

/// Sums in f32; f32 values as they are, not as TF32.
const COMPUTE: blas::cublasComputeType_t = blas::cublasComputeType_t::CUBLAS_COMPUTE_32F;
/// cuBLAS chooses, by the sizes alone.
const ALGORITHM: blas::cublasGemmAlgo_t = blas::cublasGemmAlgo_t::CUBLAS_GEMM_DFALT;

/// A matrix as cuBLAS takes it: columns `leading` values apart, transposed or not.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Columns {
    address: u64,
    dtype: Dtype,
    transposed: bool,
    leading: c_int,
    /// Values to the same of the next product.
    step: c_longlong,
}

impl Columns {
    fn of(matrix: &Matrix, step: usize) -> Option<Self> {
        Some(Self {
            address: matrix.address,
            dtype: matrix.dtype,
            transposed: matrix.transposed,
            leading: c_int::try_from(matrix.stride.max(1)).ok()?,
            step: c_longlong::try_from(step).ok()?,
        })
    }

    fn operation(&self) -> blas::cublasOperation_t {
        if self.transposed {
            blas::cublasOperation_t::CUBLAS_OP_T
        } else {
            blas::cublasOperation_t::CUBLAS_OP_N
        }
    }

    fn pointer(&self) -> *mut c_void {
        self.address as *mut c_void
    }

    fn kind(&self) -> blas::cudaDataType_t {
        match self.dtype {
            Dtype::Bf16 => blas::cudaDataType_t::CUDA_R_16BF,
            _ => blas::cudaDataType_t::CUDA_R_32F,
        }
    }
}

/// The arguments of a call of cuBLAS: c (m, n) = alpha · a (m, k) · b (k, n) + beta · c, all by columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Call {
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: f32,
    beta: f32,
    a: Columns,
    b: Columns,
    c: Columns,
    count: c_int,
}

impl Call {
    /// The transposed product: our right operand is the left one there, and each is transposed as it is here. Nothing if a
    /// size is more than cuBLAS can take.
    pub(super) fn of(gemm: &Gemm) -> Option<Self> {
        Some(Self {
            m: c_int::try_from(gemm.n).ok()?,
            n: c_int::try_from(gemm.m).ok()?,
            k: c_int::try_from(gemm.k).ok()?,
            alpha: gemm.alpha,
            beta: gemm.beta,
            a: Columns::of(&gemm.b, gemm.batch.b)?,
            b: Columns::of(&gemm.a, gemm.batch.a)?,
            c: Columns::of(&gemm.c, gemm.batch.c)?,
            count: c_int::try_from(gemm.batch.count).ok()?,
        })
    }

    /// Queues it.
    ///
    /// # Safety
    /// The matrices lie in the memory of the handle's card.
    pub(super) unsafe fn queue(&self, handle: blas::cublasHandle_t) -> Status {
        if self.count == 1 {
            // SAFETY: as the caller promises.
            unsafe { self.queue_one(handle) }
        } else {
            // SAFETY: as the caller promises.
            unsafe { self.queue_several(handle) }
        }
    }

    unsafe fn queue_one(&self, handle: blas::cublasHandle_t) -> Status {
        let Self {
            m, n, k, a, b, c, ..
        } = *self;
        // SAFETY: as the caller promises; the factors are read before it returns.
        unsafe {
            blas::cublasGemmEx(
                handle,
                a.operation(),
                b.operation(),
                m,
                n,
                k,
                (&raw const self.alpha).cast(),
                a.pointer(),
                a.kind(),
                a.leading,
                b.pointer(),
                b.kind(),
                b.leading,
                (&raw const self.beta).cast(),
                c.pointer(),
                c.kind(),
                c.leading,
                COMPUTE,
                ALGORITHM,
            )
        }
    }

    unsafe fn queue_several(&self, handle: blas::cublasHandle_t) -> Status {
        let Self {
            m, n, k, a, b, c, ..
        } = *self;
        // SAFETY: as the caller promises; the factors are read before it returns.
        unsafe {
            blas::cublasGemmStridedBatchedEx(
                handle,
                a.operation(),
                b.operation(),
                m,
                n,
                k,
                (&raw const self.alpha).cast(),
                a.pointer(),
                a.kind(),
                a.leading,
                a.step,
                b.pointer(),
                b.kind(),
                b.leading,
                b.step,
                (&raw const self.beta).cast(),
                c.pointer(),
                c.kind(),
                c.leading,
                c.step,
                self.count,
                COMPUTE,
                ALGORITHM,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Batch;

    /// What cuBLAS's reference says of a call; addresses are indices of `memory`.
    fn by_columns(call: &Call, memory: &mut [f32]) {
        let at = |x: &Columns, row: usize, column: usize, i: usize| {
            let (row, column) = if x.transposed {
                (column, row)
            } else {
                (row, column)
            };
            x.address as usize + i * x.step as usize + row + column * x.leading as usize
        };
        let (m, n, k) = (call.m as usize, call.n as usize, call.k as usize);
        for i in 0..call.count as usize {
            for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let term = |j| memory[at(&call.a, row, j, i)] * memory[at(&call.b, j, column, i)];
                let sum: f32 = (0..k).map(term).sum();
                let c = &mut memory[at(&call.c, row, column, i)];
                *c = call.alpha * sum
                    + if call.beta == 0.0 {
                        0.0
                    } else {
                        call.beta * *c
                    };
            }
        }
    }

    /// What `Gemm` says of itself.
    fn by_rows(gemm: &Gemm, memory: &mut [f32]) {
        let at = |x: &Matrix, row: usize, column: usize, shift: usize| {
            let (row, column) = if x.transposed {
                (column, row)
            } else {
                (row, column)
            };
            x.address as usize + shift + row * x.stride + column
        };
        let batch = gemm.batch;
        for i in 0..batch.count {
            for (row, column) in (0..gemm.m).flat_map(|row| (0..gemm.n).map(move |c| (row, c))) {
                let a = |j| memory[at(&gemm.a, row, j, i * batch.a)];
                let b = |j| memory[at(&gemm.b, j, column, i * batch.b)];
                let sum: f32 = (0..gemm.k).map(|j| a(j) * b(j)).sum();
                let c = &mut memory[at(&gemm.c, row, column, i * batch.c)];
                *c = gemm.alpha * sum
                    + if gemm.beta == 0.0 {
                        0.0
                    } else {
                        gemm.beta * *c
                    };
            }
        }
    }

    fn gemm(transposed: [bool; 2], beta: f32, count: usize) -> Gemm {
        let (m, n, k) = (3, 4, 5);
        let matrix = |address, stride, transposed| Matrix {
            address,
            dtype: Dtype::F32,
            stride,
            transposed,
        };
        Gemm {
            m,
            n,
            k,
            alpha: 2.0,
            beta,
            a: matrix(0, if transposed[0] { m } else { k } + 2, transposed[0]),
            b: matrix(100, if transposed[1] { k } else { n } + 1, transposed[1]),
            c: matrix(200, n + 3, false),
            batch: Batch {
                count,
                a: 40,
                b: 41,
                c: 42,
            },
        }
    }

    #[test]
    fn the_transposed_product_by_columns_is_the_product_by_rows() {
        let mut calls = 0;
        for a in [false, true] {
            for b in [false, true] {
                for (beta, count) in [(0.0, 1), (1.0, 1), (-0.5, 2)] {
                    let gemm = gemm([a, b], beta, count);
                    let mut ours: Vec<f32> = (0..300_i16).map(|i| f32::from(i % 17 - 8)).collect();
                    let mut theirs = ours.clone();
                    by_rows(&gemm, &mut ours);
                    by_columns(&Call::of(&gemm).unwrap(), &mut theirs);
                    assert_eq!(ours, theirs, "{gemm:?}");
                    calls += 1;
                }
            }
        }
        assert_eq!(calls, 12);
    }

    #[test]
    fn sizes_beyond_31_bits_are_refused() {
        let mut gemm = gemm([false, false], 0.0, 1);
        gemm.c.stride = 1 << 31;
        assert_eq!(Call::of(&gemm), None);
    }

    #[test]
    fn a_column_is_at_least_one_value_from_the_next() {
        let mut gemm = gemm([false, false], 0.5, 1);
        (gemm.k, gemm.a.stride) = (0, 0);
        let call = Call::of(&gemm).unwrap();
        assert_eq!((call.k, call.b.leading), (0, 1));
    }
}
