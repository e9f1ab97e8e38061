//! Dropout by counter: whether a value is kept is a function of a key and its index, so that nothing is stored. The masks are
//! those of the CPU.
use super::{Args, check_mat, check_shapes, flat, over_values};
use crate::{Error, Gpu, Mat};

/// The dropout mask of one module in one micro-step. The value in row t and column c has the index
/// (`first_row` + t) · columns + c.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mask {
    /// Of seed, micro-step and module.
    pub key: u64,
    /// A value is kept if 32 bits of its hash are not below.
    pub threshold: u64,
    /// What a kept value is multiplied by, 1 / (1 − p).
    pub scale: f32,
}

impl Gpu {
    /// out = mask(x), both activations; out may be x.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn drop(
        &self,
        x: Mat<'_>,
        mask: Mask,
        first_row: usize,
        out: Mat<'_>,
    ) -> Result<(), Error> {
        check_mat("dropped", x, self.dtype(), x.rows(), x.columns());
        check_mat("what is left", out, self.dtype(), out.rows(), out.columns());
        self.masked("drop", x, mask, first_row, out)
    }

    /// dx += mask(d), both activations or both f32.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn add_dropped(
        &self,
        d: Mat<'_>,
        mask: Mask,
        first_row: usize,
        dx: Mat<'_>,
    ) -> Result<(), Error> {
        check_mat("gradient", dx, d.dtype(), dx.rows(), dx.columns());
        self.masked(self.typed("add_dropped", &[d]), d, mask, first_row, dx)
    }

    fn masked(
        &self,
        kernel: &'static str,
        from: Mat<'_>,
        mask: Mask,
        first_row: usize,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = flat(&[from, to]);
        check_shapes("dropout", &[from, to]);
        let mut args = Args::new().mat(from);
        args.0.push(crate::Arg::Long(mask.key));
        args.0.push(crate::Arg::Long(mask.threshold));
        let args = args
            .float(mask.scale)
            .long(first_row * from.columns())
            .mat(to)
            .long(rows)
            .long(columns);
        self.launch(kernel, over_values(rows, columns), &args)
    }
}
