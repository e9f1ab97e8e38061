//! Rows of an embedding.
use super::{Args, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

impl Gpu {
    /// x = scale · table\[id\]: `table` is (V, H) of activations, `ids` are u32, one a row of x, which is (T, H) in f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit. That ids lie in the table is the caller's promise.
    pub fn embed(&self, table: Mat<'_>, ids: &Tensor, scale: f32, x: Mat<'_>) -> Result<(), Error> {
        let (rows, columns) = (x.rows(), x.columns());
        check_mat("embedding", table, self.dtype(), table.rows(), columns);
        check_mat("x", x, Dtype::F32, rows, columns);
        check_tensor("ids", ids, Dtype::U32, rows);
        let args = Args::new()
            .mat(table)
            .tensor(ids, 0)
            .float(scale)
            .mat(x)
            .long(rows)
            .long(columns);
        self.launch("embed", over_values(rows, columns), &args)
    }
}
