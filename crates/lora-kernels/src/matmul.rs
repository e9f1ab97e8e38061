//! Matrix products over strided views: the only door to the gemm crate.
use gemm::Parallelism;
use std::marker::PhantomData;

/// A read-only matrix: element (i, j) is `data[i · row_stride + j · column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Mat<'a> {
    /// A dense row-major matrix.
    ///
    /// # Panics
    /// If `data` is shorter than rows · columns.
    #[must_use]
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Rows `row_stride` values apart.
    ///
    /// # Panics
    /// If the last element lies outside `data`.
    #[must_use]
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || columns == 0 || (rows - 1) * row_stride + columns <= data.len(),
            "matrix outside its data"
        );
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// Rows.
    #[must_use]
    pub fn rows(self) -> usize {
        self.rows
    }

    /// The transpose, without a copy.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write, rows `row_stride` values apart.
#[derive(Debug)]
pub struct MatMut<'a> {
    pointer: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    life: PhantomData<&'a mut f32>,
}

impl<'a> MatMut<'a> {
    /// A dense row-major matrix.
    ///
    /// # Panics
    /// If `data` is shorter than rows · columns.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Rows `row_stride` values apart.
    ///
    /// # Panics
    /// If the last element lies outside `data`.
    pub fn strided(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || columns == 0 || (rows - 1) * row_stride + columns <= data.len(),
            "matrix outside its data"
        );
        // SAFETY: inside the slice (asserted), which is borrowed mutably for 'a.
        unsafe { Self::from_raw(data.as_mut_ptr(), rows, columns, row_stride) }
    }

    /// # Safety
    /// All elements must be valid and not touched by others during 'a.
    pub(crate) unsafe fn from_raw(pointer: *mut f32, rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { pointer, rows, columns, row_stride, life: PhantomData }
    }
}

/// dst = scale · lhs · rhs, or dst += scale · lhs · rhs with `accumulate`. Threads of the current rayon pool share the
/// work if `parallel`; they split the output, so the result does not depend on their number.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(dst: MatMut<'_>, accumulate: bool, scale: f32, lhs: Mat<'_>, rhs: Mat<'_>, parallel: bool) {
    assert!(
        dst.rows == lhs.rows && dst.columns == rhs.columns && lhs.columns == rhs.rows,
        "matmul: ({}, {}) = ({}, {}) · ({}, {})",
        dst.rows,
        dst.columns,
        lhs.rows,
        lhs.columns,
        rhs.rows,
        rhs.columns
    );
    let parallelism =
        if parallel && rayon::current_num_threads() > 1 { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: the views were checked against their slices when made, and the borrow rules keep dst apart from both.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.columns,
            lhs.columns,
            dst.pointer,
            1,
            dst.row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}
