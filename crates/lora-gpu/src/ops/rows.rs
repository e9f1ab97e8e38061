//! Rows picked out by a list, put back by one, and summed over one. That lists name rows which exist is the caller's promise.
use super::{Args, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// The kernel that copies in the largest units of which rows, strides and addresses consist, and values of a unit's bytes.
fn units(names: [&'static str; 4], mats: [Mat<'_>; 2]) -> (&'static str, usize) {
    let size = mats[0].dtype().bytes();
    let fits = |unit: usize| {
        mats.iter().all(|mat| {
            mat.address().is_multiple_of(unit as u64)
                && (mat.stride() * size).is_multiple_of(unit)
                && (mat.columns() * size).is_multiple_of(unit)
        })
    };
    match size {
        _ if fits(16) => (names[0], 16),
        4 => (names[1], 4),
        2 => (names[2], 2),
        _ => (names[3], 1),
    }
}

impl Gpu {
    /// to\[i\] = from\[rows\[first + i\]\], for each row of `to`; both are of one type.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn gather(
        &self,
        from: Mat<'_>,
        rows: &Tensor,
        first: usize,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        check_mat("rows", from, to.dtype(), from.rows(), to.columns());
        let names = ["gather_16", "gather_4", "gather_2", "gather_1"];
        self.copy_rows(names, from, (rows, first), to, to.rows())
    }

    /// to\[rows\[first + i\]\] = from\[i\], for each row of `from`; both are of one type, no row is listed twice.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn put(
        &self,
        from: Mat<'_>,
        rows: &Tensor,
        first: usize,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        check_mat("rows", from, to.dtype(), from.rows(), to.columns());
        let names = ["put_16", "put_4", "put_2", "put_1"];
        self.copy_rows(names, from, (rows, first), to, from.rows())
    }

    fn copy_rows(
        &self,
        names: [&'static str; 4],
        from: Mat<'_>,
        (rows, first): (&Tensor, usize),
        to: Mat<'_>,
        count: usize,
    ) -> Result<(), Error> {
        check_tensor("list of rows", rows, Dtype::U32, first + count);
        let (kernel, unit) = units(names, [from, to]);
        let in_units = |values: usize| values * to.dtype().bytes() / unit;
        let columns = in_units(to.columns());
        let args = Args::new()
            .first(from)
            .long(in_units(from.stride()))
            .tensor(rows, first)
            .first(to)
            .long(in_units(to.stride()))
            .long(count)
            .long(columns);
        // A thread takes one unit, where elsewhere it takes four values.
        self.launch(kernel, over_values(count, 4 * columns), &args)
    }

    /// to\[rows\[first + i\]\] += from\[i\], for each row of `from`, in f32; no row is listed twice.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn put_add(
        &self,
        from: Mat<'_>,
        rows: &Tensor,
        first: usize,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let (count, columns) = (from.rows(), from.columns());
        check_mat("rows", from, Dtype::F32, count, columns);
        check_mat("sums", to, Dtype::F32, to.rows(), columns);
        check_tensor("list of rows", rows, Dtype::U32, first + count);
        let args = Args::new()
            .mat(from)
            .tensor(rows, first)
            .mat(to)
            .long(count)
            .long(columns);
        self.launch("put_add", over_values(count, columns), &args)
    }

    /// to\[i\] = Σ from\[sources\[s\]\] over s in starts\[i\]..starts\[i + 1\], added in that order, 0 if there are none; all in
    /// f32. `starts` has one more than `to` has rows.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn sum_rows(
        &self,
        from: Mat<'_>,
        starts: &Tensor,
        sources: &Tensor,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let (count, columns) = (to.rows(), to.columns());
        check_mat("rows", from, Dtype::F32, from.rows(), columns);
        check_mat("sums", to, Dtype::F32, count, columns);
        check_tensor("starts", starts, Dtype::U32, count + 1);
        check_tensor("sources", sources, Dtype::U32, 0);
        let args = Args::new()
            .mat(from)
            .tensor(starts, 0)
            .tensor(sources, 0)
            .mat(to)
            .long(count)
            .long(columns);
        self.launch("sum_rows", over_values(count, columns), &args)
    }
}
