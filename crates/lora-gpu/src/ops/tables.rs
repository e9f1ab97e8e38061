//! What trains at the embedding and at the head: rows that stand in the place of a table's own, and factors whose A is looked up
//! by token. That lists name rows and columns which exist is the caller's promise.
use super::{Args, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

impl Gpu {
    /// x\[at\[i\]\] = scale · table\[ids\[i\]\] for `count` places i: `table` is (n, H) of activations, x (T, H) in f32, both
    /// lists are u32. No row of x is listed twice.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn embed_at(
        &self,
        table: Mat<'_>,
        (ids, at, count): (&Tensor, &Tensor, usize),
        scale: f32,
        x: Mat<'_>,
    ) -> Result<(), Error> {
        let columns = x.columns();
        check_mat("embedding", table, self.dtype(), table.rows(), columns);
        check_mat("x", x, Dtype::F32, x.rows(), columns);
        check_tensor("ids", ids, Dtype::U32, count);
        check_tensor("places", at, Dtype::U32, count);
        let args = Args::new()
            .mat(table)
            .tensor(ids, 0)
            .tensor(at, 0)
            .float(scale)
            .mat(x)
            .long(count)
            .long(columns);
        self.launch("embed_at", over_values(count, columns), &args)
    }

    /// u\[t\]\[k\] = a\[k\]\[ids\[t\]\]: `a` is (r, V) in f32, `ids` are u32, one a row of u, which is (T, r) of activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn gather_columns(&self, a: Mat<'_>, ids: &Tensor, u: Mat<'_>) -> Result<(), Error> {
        let (rows, rank) = (u.rows(), u.columns());
        check_mat("A", a, Dtype::F32, rank, a.columns());
        check_mat("u", u, self.dtype(), rows, rank);
        check_tensor("ids", ids, Dtype::U32, rows);
        let args = Args::new()
            .mat(a)
            .tensor(ids, 0)
            .mat(u)
            .long(rows)
            .long(rank);
        self.launch("gather_columns", over_values(rows, rank), &args)
    }

    /// to\[k\]\[columns\[i\]\] += Σ d\[sources\[s\]\]\[k\] over s in starts\[i\]..starts\[i + 1\], added in that order, for each
    /// of `count` columns, of which none is listed twice: d is (T, r), `to` (r, V), both in f32, the lists are u32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn add_columns(
        &self,
        d: Mat<'_>,
        (starts, sources): (&Tensor, &Tensor),
        (columns, count): (&Tensor, usize),
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let rank = d.columns();
        check_mat("d_u", d, Dtype::F32, d.rows(), rank);
        check_mat("A's gradient", to, Dtype::F32, rank, to.columns());
        check_tensor("starts", starts, Dtype::U32, count + 1);
        check_tensor("sources", sources, Dtype::U32, 0);
        check_tensor("columns", columns, Dtype::U32, count);
        let args = Args::new()
            .mat(d)
            .tensor(starts, 0)
            .tensor(sources, 0)
            .tensor(columns, 0)
            .mat(to)
            .long(count)
            .long(rank);
        self.launch("add_columns", over_values(count, rank), &args)
    }

    /// to\[t\]\[columns\[j\]\] = from\[t\]\[j\], both in f32; the list is u32, and names no column twice.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn put_columns(&self, from: Mat<'_>, columns: &Tensor, to: Mat<'_>) -> Result<(), Error> {
        let (rows, count) = (from.rows(), from.columns());
        check_mat("columns", from, Dtype::F32, rows, count);
        check_mat("logits", to, Dtype::F32, rows, to.columns());
        check_tensor("list of columns", columns, Dtype::U32, count);
        let args = Args::new()
            .mat(from)
            .tensor(columns, 0)
            .mat(to)
            .long(rows)
            .long(count);
        self.launch("put_columns", over_values(rows, count), &args)
    }

    /// to\[t\]\[j\] = from\[t\]\[columns\[j\]\], which is 0 afterwards; both are activations, the list is u32, and names no
    /// column twice.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn take_columns(&self, from: Mat<'_>, columns: &Tensor, to: Mat<'_>) -> Result<(), Error> {
        let (rows, count) = (to.rows(), to.columns());
        check_mat("columns", to, self.dtype(), rows, count);
        check_mat("gradients", from, self.dtype(), rows, from.columns());
        check_tensor("list of columns", columns, Dtype::U32, count);
        let args = Args::new()
            .mat(from)
            .tensor(columns, 0)
            .mat(to)
            .long(rows)
            .long(count);
        self.launch("take_columns", over_values(rows, count), &args)
    }
}
