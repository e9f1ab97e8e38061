//! Matrices that lie somewhere in some storage dtype.

/// A matrix that lies somewhere in some storage dtype: (rows, columns) = (out, in) of a linear layer.
pub trait Rows: Sync {
    /// Output features.
    fn rows(&self) -> usize;
    /// Input features.
    fn columns(&self) -> usize;
    /// Widens rows `first..` into `out`, a whole number of rows.
    fn read_rows(&self, first: usize, out: &mut [f32]);
    /// Values of a row that can be read alone: parts begin at multiples of it and hold whole multiples, a power of two.
    fn unit(&self) -> usize;
    /// Widens the values from `column` on of one row into `out`.
    fn read_part(&self, row: usize, column: usize, out: &mut [f32]);
    /// The bytes that hold a part, if it is known which: the machine is asked for them before they are read. Parts need not
    /// be whole units, nor inside the matrix.
    fn stored_part(&self, _row: usize, _column: usize, _len: usize) -> &[u8] {
        &[]
    }
    /// The matrix in place, if it is stored as f32.
    fn as_f32(&self) -> Option<&[f32]> {
        None
    }
    /// The matrix in place, if it is stored as bfloat16: the upper halves of f32 values, their lower byte first.
    fn as_bf16(&self) -> Option<&[[u8; 2]]> {
        None
    }
}

/// A matrix of f32 values in memory: one that trains as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Dense<'a> {
    /// (rows, columns) row-major.
    pub values: &'a [f32],
    /// Input features.
    pub columns: usize,
}

impl Rows for Dense<'_> {
    fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read_rows(&self, first: usize, out: &mut [f32]) {
        let at = first * self.columns;
        out.copy_from_slice(&self.values[at..at + out.len()]);
    }
    fn unit(&self) -> usize {
        1
    }
    fn read_part(&self, row: usize, column: usize, out: &mut [f32]) {
        let at = row * self.columns + column;
        out.copy_from_slice(&self.values[at..at + out.len()]);
    }
    fn as_f32(&self) -> Option<&[f32]> {
        Some(self.values)
    }
}
