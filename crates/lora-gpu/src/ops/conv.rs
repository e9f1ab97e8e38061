//! Causal convolutions of each column by itself, and the short one between two gates (LFM2, Liquid AI 2025).
use super::spans::Spans;
use super::{Args, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// The weight of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Taps<'t> {
    /// f32 (taps, columns): the last tap is that of the row itself.
    pub values: &'t Tensor,
    /// Added to each sum, f32 (columns), if there is one.
    pub bias: Option<&'t Tensor>,
    /// Taps.
    pub count: usize,
    /// Whether the sum goes through x·σ(x).
    pub silu: bool,
}

impl Taps<'_> {
    fn args(self, from: Mat<'_>, columns: usize) -> Args {
        assert!(self.count > 0, "a convolution without taps");
        check_tensor("taps", self.values, Dtype::F32, self.count * columns);
        if let Some(bias) = self.bias {
            check_tensor("bias of taps", bias, Dtype::F32, columns);
        }
        let args = Args::new().mat(from).tensor(self.values, 0);
        args.maybe(self.bias).int(self.count)
    }

    /// Values of a text's tail: of the rows before its next one.
    #[must_use]
    pub fn tail(self, columns: usize) -> usize {
        self.count.saturating_sub(1) * columns
    }
}

impl Gpu {
    /// y = b + Σⱼ w(j)∘x(t − taps + 1 + j), or SiLU of it, both activations (T, columns). `tails` are the rows before each text's
    /// first in the batch, f32 (texts, taps − 1, columns); without them there are none.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn conv(
        &self,
        taps: Taps<'_>,
        x: Mat<'_>,
        spans: &Spans,
        tails: Option<&Tensor>,
        y: Mat<'_>,
    ) -> Result<(), Error> {
        let columns = y.columns();
        check_mat("what is convolved", x, self.dtype(), spans.rows, columns);
        check_mat("a convolution", y, self.dtype(), spans.rows, columns);
        let args = taps.args(x, columns).int(usize::from(taps.silu));
        let args = with_tails(args, taps, spans, (tails, columns)).mat(y);
        let args = args.long(spans.rows).long(columns);
        self.launch("conv", over_values(spans.rows, columns), &args)
    }

    /// dx from dy, of sequences that begin in the batch.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn conv_backward(
        &self,
        taps: Taps<'_>,
        x: Mat<'_>,
        spans: &Spans,
        dy: Mat<'_>,
        dx: Mat<'_>,
    ) -> Result<(), Error> {
        let columns = x.columns();
        for mat in [x, dy, dx] {
            check_mat("a convolution", mat, self.dtype(), spans.rows, columns);
        }
        let args = taps.args(x, columns).int(usize::from(taps.silu));
        let args = args.tensor(&spans.of_rows, 0).mat(dy).mat(dx);
        let args = args.long(spans.rows).long(columns);
        let grid = over_values(spans.rows, columns);
        self.launch("conv_backward", grid, &args)
    }

    /// The last taps − 1 rows of x of each segment become the tail of its text, behind what that had.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn keep_tails(
        &self,
        taps: Taps<'_>,
        x: Mat<'_>,
        spans: &Spans,
        tails: &Tensor,
    ) -> Result<(), Error> {
        check_mat("a tail", x, self.dtype(), spans.rows, x.columns());
        self.keep("keep_tails", taps, (x, x.columns()), spans, tails)
    }

    /// y = c∘conv(b∘x) of `sides` (T, 3·columns), b | c | x, all activations; tails are of b∘x, as [`conv`](Self::conv)'s.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit, or the taps have a SiLU.
    pub fn short_conv(
        &self,
        taps: Taps<'_>,
        sides: Mat<'_>,
        spans: &Spans,
        tails: Option<&Tensor>,
        y: Mat<'_>,
    ) -> Result<(), Error> {
        let columns = y.columns();
        assert!(!taps.silu, "a short convolution has no activation");
        check_mat("sides", sides, self.dtype(), spans.rows, 3 * columns);
        check_mat("a convolution", y, self.dtype(), spans.rows, columns);
        let args = taps.args(sides, columns);
        let args = with_tails(args, taps, spans, (tails, columns)).mat(y);
        let args = args.long(spans.rows).long(columns);
        self.launch("short_conv", over_values(spans.rows, columns), &args)
    }

    /// The gradient of the sides from that of y, of sequences that begin in the batch.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn short_conv_backward(
        &self,
        taps: Taps<'_>,
        sides: Mat<'_>,
        spans: &Spans,
        dy: Mat<'_>,
        d_sides: Mat<'_>,
    ) -> Result<(), Error> {
        let columns = dy.columns();
        check_mat("sides", sides, self.dtype(), spans.rows, 3 * columns);
        check_mat(
            "their gradient",
            d_sides,
            self.dtype(),
            spans.rows,
            3 * columns,
        );
        check_mat("a convolution", dy, self.dtype(), spans.rows, columns);
        let args = taps.args(sides, columns);
        let args = args.tensor(&spans.of_rows, 0).mat(dy).mat(d_sides);
        let args = args.long(spans.rows).long(columns);
        let grid = over_values(spans.rows, columns);
        self.launch("short_conv_backward", grid, &args)
    }

    /// [`keep_tails`](Self::keep_tails) of b∘x.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn keep_short_tails(
        &self,
        taps: Taps<'_>,
        sides: Mat<'_>,
        spans: &Spans,
        tails: &Tensor,
    ) -> Result<(), Error> {
        let columns = sides.columns() / 3;
        check_mat("sides", sides, self.dtype(), spans.rows, 3 * columns);
        self.keep("keep_short_tails", taps, (sides, columns), spans, tails)
    }

    fn keep(
        &self,
        kernel: &'static str,
        taps: Taps<'_>,
        (from, columns): (Mat<'_>, usize),
        spans: &Spans,
        tails: &Tensor,
    ) -> Result<(), Error> {
        spans.check_texts("tails", tails, taps.tail(columns));
        let args = taps.args(from, columns).tensor(&spans.of_segments, 0);
        let args = args.tensor(tails, 0).long(spans.segments).long(columns);
        self.launch(kernel, over_values(spans.segments, columns), &args)
    }
}

/// Spans, and what was read before them.
fn with_tails(
    args: Args,
    taps: Taps<'_>,
    spans: &Spans,
    (tails, columns): (Option<&Tensor>, usize),
) -> Args {
    if let Some(tails) = tails {
        spans.check_texts("tails", tails, taps.tail(columns));
    }
    args.tensor(&spans.of_rows, 0).maybe(tails)
}
