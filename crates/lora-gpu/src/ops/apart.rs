//! Heads that lie apart, as those of queries do whose rows hold the gates of attention's outputs, too.
use super::{Args, check_mat, over_values};
use crate::{Error, Gpu, Mat};

/// Heads of `width` values, whose first ones are `apart` from each other.
#[derive(Debug, Clone, Copy)]
pub struct Apart<'t> {
    /// From the first head's first value to the last head's last, activations.
    pub mat: Mat<'t>,
    /// Values of a head.
    pub width: usize,
    /// Values from one head to the next.
    pub apart: usize,
}

impl Apart<'_> {
    fn check(self, gpu: &Gpu, rows: usize, columns: usize) {
        assert!(
            self.width > 0 && self.apart >= self.width && columns.is_multiple_of(self.width),
            "{columns} values in heads of {}, {} apart",
            self.width,
            self.apart
        );
        let heads = columns / self.width;
        let span = heads.saturating_sub(1) * self.apart + self.width;
        check_mat("heads that lie apart", self.mat, gpu.dtype(), rows, span);
    }

    fn args(self, args: Args) -> Args {
        args.long(self.width).long(self.apart)
    }
}

impl Gpu {
    /// Heads that lie apart side by side, (T, columns).
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn take_heads(&self, from: Apart<'_>, to: Mat<'_>) -> Result<(), Error> {
        let (rows, columns) = (to.rows(), to.columns());
        check_mat("heads", to, self.dtype(), rows, columns);
        from.check(self, rows, columns);
        let args = from.args(Args::new().mat(from.mat)).mat(to);
        let args = args.long(rows).long(columns);
        self.launch("take_heads", over_values(rows, columns), &args)
    }

    /// The way back; what lies between the heads stays.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn give_heads(&self, from: Mat<'_>, to: Apart<'_>) -> Result<(), Error> {
        let (rows, columns) = (from.rows(), from.columns());
        check_mat("heads", from, self.dtype(), rows, columns);
        to.check(self, rows, columns);
        let args = to.args(Args::new().mat(from)).mat(to.mat);
        let args = args.long(rows).long(columns);
        self.launch("give_heads", over_values(rows, columns), &args)
    }

    /// y = x∘σ(gate), x and y activations (T, columns).
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn open(&self, x: Mat<'_>, gate: Apart<'_>, y: Mat<'_>) -> Result<(), Error> {
        let (rows, columns) = (x.rows(), x.columns());
        check_mat("what is gated", x, self.dtype(), rows, columns);
        check_mat("a gate's output", y, self.dtype(), rows, columns);
        gate.check(self, rows, columns);
        let args = gate.args(Args::new().mat(x).mat(gate.mat)).mat(y);
        let args = args.long(rows).long(columns);
        self.launch("open_gate", over_values(rows, columns), &args)
    }

    /// dy becomes the gradient of x, and that of the gate goes to `d_gate`, whose heads lie as the gate's.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn open_backward(
        &self,
        x: Mat<'_>,
        gate: Apart<'_>,
        dy: Mat<'_>,
        d_gate: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (x.rows(), x.columns());
        check_mat("what is gated", x, self.dtype(), rows, columns);
        check_mat("a gate's output", dy, self.dtype(), rows, columns);
        let span = gate.mat.columns();
        check_mat("gradient of a gate", d_gate, self.dtype(), rows, span);
        gate.check(self, rows, columns);
        let args = gate.args(Args::new().mat(x).mat(gate.mat)).mat(dy);
        let args = args.mat(d_gate).long(rows).long(columns);
        self.launch("open_gate_backward", over_values(rows, columns), &args)
    }
}
