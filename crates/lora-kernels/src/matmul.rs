//! Matrix products over strided views in memory.
use crate::gemm::{Left, MatRight, Product, Transpose};
use std::cell::RefCell;
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
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

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

    /// Packs `live` rows from `row` on, and `steps` columns from `column` on, into `to`: column after column, each `width`
    /// values, zero behind the rows.
    pub(crate) fn pack(
        self,
        transpose: Transpose,
        row: usize,
        live: usize,
        column: usize,
        steps: usize,
        to: &mut [f32],
        width: usize,
    ) {
        assert!(
            row + live <= self.rows && column + steps <= self.columns,
            "packed part outside the matrix"
        );
        assert!(
            live <= width && to.len() >= steps * width,
            "packed part outside its panel"
        );
        let at = row * self.row_stride + column * self.column_stride;
        if self.column_stride == 1 {
            // SAFETY: `live` rows of `steps` values lie inside the matrix, and the destination was checked.
            return unsafe {
                transpose(
                    self.data.as_ptr().add(at),
                    self.row_stride,
                    live,
                    steps,
                    to.as_mut_ptr(),
                    width,
                )
            };
        }
        assert!(
            self.row_stride == 1,
            "a matrix has a stride of 1 one way or the other"
        );
        match (live == width, width) {
            (true, 6) => self.copy_steps::<6>(at, steps, to),
            (true, 12) => self.copy_steps::<12>(at, steps, to),
            (true, 16) => self.copy_steps::<16>(at, steps, to),
            (true, 32) => self.copy_steps::<32>(at, steps, to),
            _ => {
                for (step, to) in to.chunks_exact_mut(width).take(steps).enumerate() {
                    let from = at + step * self.column_stride;
                    to[..live].copy_from_slice(&self.data[from..from + live]);
                    to[live..].fill(0.0);
                }
            }
        }
    }

    /// WIDTH neighbouring values of each column; a known length is copied without a call.
    fn copy_steps<const WIDTH: usize>(self, at: usize, steps: usize, to: &mut [f32]) {
        for (step, to) in to
            .as_chunks_mut::<WIDTH>()
            .0
            .iter_mut()
            .take(steps)
            .enumerate()
        {
            let from = at + step * self.column_stride;
            if let Some(values) = self.data[from..].first_chunk::<WIDTH>() {
                *to = *values;
            }
        }
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
    pub(crate) unsafe fn from_raw(
        pointer: *mut f32,
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        Self {
            pointer,
            rows,
            columns,
            row_stride,
            life: PhantomData,
        }
    }

    pub(crate) fn pointer(&self) -> *mut f32 {
        self.pointer
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0 || self.columns == 0
    }
}

// SAFETY: a shared reference gives the pointer to `gemm::product` alone, whose tasks write disjoint tiles.
unsafe impl Sync for MatMut<'_> {}

thread_local! {
    /// A packed left operand. It is taken out while in use: a thread that waits may begin another product.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// dst = scale · lhs · rhs, or dst += scale · lhs · rhs with `accumulate`. Threads of the current rayon pool share the
/// work if `parallel`; they split the output, so the result does not depend on their number.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(
    dst: MatMut<'_>,
    accumulate: bool,
    scale: f32,
    lhs: Mat<'_>,
    rhs: Mat<'_>,
    parallel: bool,
) {
    let mut memory = PACKED.take();
    let left = Left::pack(lhs, 1, &mut memory, parallel);
    Product::new(dst, left, &MatRight::new(rhs))
        .accumulate(accumulate)
        .scaled(scale)
        .run(parallel);
    PACKED.set(memory);
}
