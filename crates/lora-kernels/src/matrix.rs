//! Matrices over slices: what a product reads, and the place where it goes.

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
        let span = span(rows, columns, row_stride).filter(|&span| span <= data.len());
        let Some(span) = span else {
            panic!(
                "a matrix ({rows}, {columns}) of rows {row_stride} apart is outside its {} values",
                data.len()
            )
        };
        Self {
            data: &data[..span],
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

    /// All values, from the first to the last.
    #[must_use]
    pub fn values(self) -> &'a [f32] {
        self.data
    }

    pub(crate) fn row_stride(self) -> usize {
        self.row_stride
    }

    pub(crate) fn column_stride(self) -> usize {
        self.column_stride
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

/// Values from the first to the last of a matrix; None if no memory is that large.
pub(crate) fn span(rows: usize, columns: usize, row_stride: usize) -> Option<usize> {
    if rows == 0 || columns == 0 {
        return Some(0);
    }
    (rows - 1).checked_mul(row_stride)?.checked_add(columns)
}

/// What a result does to what stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It stands there instead.
    Replace,
    /// It is added to it.
    Add,
}

/// Where a result goes: a dense row-major matrix, which it replaces or is added to.
#[derive(Debug)]
pub struct Place<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    write: Write,
}

impl<'a> Place<'a> {
    /// The first rows · columns values of `data`, to be replaced.
    ///
    /// # Panics
    /// If `data` is shorter.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        let len = data.len();
        let Some(data) = rows
            .checked_mul(columns)
            .and_then(|values| data.get_mut(..values))
        else {
            panic!("a matrix ({rows}, {columns}) is outside its {len} values")
        };
        Self {
            data,
            rows,
            columns,
            write: Write::Replace,
        }
    }

    /// The same place, to be added to.
    #[must_use]
    pub fn adding(self) -> Self {
        self.with(Write::Add)
    }

    /// The same place, to be written as told.
    #[must_use]
    pub fn with(self, write: Write) -> Self {
        Self { write, ..self }
    }

    /// The same place, for a shorter time.
    #[must_use]
    pub fn reborrow(&mut self) -> Place<'_> {
        Place {
            data: self.data,
            ..*self
        }
    }

    /// What stands there, (rows, columns).
    #[must_use]
    pub fn values(&mut self) -> &mut [f32] {
        self.data
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How it is written.
    #[must_use]
    pub fn write(&self) -> Write {
        self.write
    }

    pub(crate) fn into_values(self) -> &'a mut [f32] {
        self.data
    }
}
