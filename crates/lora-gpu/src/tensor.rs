//! Values in a device's memory, and matrices in them.
use crate::device::{Matrix, Memory};
use crate::dtype::Dtype;
use std::ops::Range;
use std::sync::Arc;

/// Values in a device's memory. Operations write into it, whoever else holds it: what it holds is what the last operation
/// that was queued has written.
#[derive(Debug, Clone)]
pub struct Tensor {
    memory: Arc<Memory>,
    /// Bytes before its first value.
    first: usize,
    dtype: Dtype,
    len: usize,
}

impl Tensor {
    pub(crate) fn new(memory: Memory, dtype: Dtype, len: usize) -> Self {
        assert!(
            len.checked_mul(dtype.bytes())
                .is_some_and(|b| b <= memory.bytes),
            "{len} values don't fit into {} bytes",
            memory.bytes
        );
        Self {
            memory: Arc::new(memory),
            first: 0,
            dtype,
            len,
        }
    }

    /// A part of its memory, from a byte on, for values of some type: what is written there is written here.
    ///
    /// # Panics
    /// If they don't fit, or would lie askew.
    #[must_use]
    pub fn part(&self, first: usize, dtype: Dtype, len: usize) -> Self {
        let end = len.checked_mul(dtype.bytes());
        let end = end.and_then(|bytes| bytes.checked_add(first));
        assert!(
            first.is_multiple_of(dtype.bytes())
                && end.is_some_and(|end| end <= self.len * self.dtype.bytes()),
            "{len} values of {dtype:?} from byte {first} on"
        );
        Self {
            memory: Arc::clone(&self.memory),
            first: self.first + first,
            dtype,
            len,
        }
    }

    /// Type of its values.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.bytes
    }

    /// The first rows · columns values as a dense matrix.
    ///
    /// # Panics
    /// If it holds fewer.
    #[must_use]
    pub fn mat(&self, rows: usize, columns: usize) -> Mat<'_> {
        self.strided(0, rows, columns, columns)
    }

    /// A matrix whose first value is `offset`, with rows `stride` values apart.
    ///
    /// # Panics
    /// If it does not lie inside, or its rows overlap.
    #[must_use]
    pub fn strided(&self, offset: usize, rows: usize, columns: usize, stride: usize) -> Mat<'_> {
        let mat = Mat {
            tensor: self,
            offset,
            rows,
            columns,
            stride,
        };
        assert!(
            stride >= columns,
            "rows of {columns} values are {stride} apart"
        );
        let end = match rows.checked_sub(1) {
            Some(last) if columns > 0 => last
                .checked_mul(stride)
                .and_then(|n| n.checked_add(columns))
                .and_then(|n| n.checked_add(offset)),
            _ => Some(offset),
        };
        assert!(
            end.is_some_and(|end| end <= self.len),
            "a matrix ({rows}, {columns}) of rows {stride} apart from {offset} on is outside of {} values",
            self.len
        );
        mat
    }

    pub(crate) fn address(&self) -> u64 {
        self.memory.address + self.first as u64
    }
}

/// A row-major matrix in a tensor.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'t> {
    tensor: &'t Tensor,
    offset: usize,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'t> Mat<'t> {
    /// Rows.
    #[must_use]
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Columns.
    #[must_use]
    pub fn columns(self) -> usize {
        self.columns
    }

    /// Values from one row to the next.
    #[must_use]
    pub fn stride(self) -> usize {
        self.stride
    }

    /// Type of its values.
    #[must_use]
    pub fn dtype(self) -> Dtype {
        self.tensor.dtype
    }

    /// Some of its columns.
    ///
    /// # Panics
    /// If it has fewer.
    #[must_use]
    pub fn of_columns(self, columns: Range<usize>) -> Self {
        assert!(
            columns.start <= columns.end && columns.end <= self.columns,
            "columns {columns:?} of {}",
            self.columns
        );
        Self {
            offset: self.offset + columns.start,
            columns: columns.len(),
            ..self
        }
    }

    /// Some of its rows.
    ///
    /// # Panics
    /// If it has fewer.
    #[must_use]
    pub fn of_rows(self, rows: Range<usize>) -> Self {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "rows {rows:?} of {}",
            self.rows
        );
        Self {
            offset: self.offset
                + if rows.is_empty() {
                    0
                } else {
                    rows.start * self.stride
                },
            rows: rows.len(),
            ..self
        }
    }

    /// Whether its rows lie end to end.
    #[must_use]
    pub fn is_dense(self) -> bool {
        self.stride == self.columns || self.rows <= 1
    }

    /// # Panics
    /// If the same matrix, `by` values further on, is not inside the tensor.
    pub(crate) fn check_shift(self, by: usize) {
        let _ = self
            .tensor
            .strided(self.offset + by, self.rows, self.columns, self.stride);
    }

    /// Where its first value is.
    pub(crate) fn address(self) -> u64 {
        self.tensor.address() + (self.offset * self.dtype().bytes()) as u64
    }

    /// As an operand of a product.
    pub(crate) fn operand(self, transposed: bool) -> Matrix {
        Matrix {
            address: self.address(),
            dtype: self.dtype(),
            stride: self.stride,
            transposed,
        }
    }
}
