//! Gated linear units: activation(gate) ∘ up, and gpt-oss' clamped unit.
use super::{Args, check_mat, over_values};
use crate::{Error, Gpu, Mat};

/// What the gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// GELU by the tanh formula, ½x(1 + tanh(√(2/π)(x + 0.044715x³))) (Hendrycks and Gimpel 2016).
    GeluTanh,
}

impl Activation {
    pub(super) fn is_gelu(self) -> usize {
        usize::from(self == Self::GeluTanh)
    }
}

/// gpt-oss' unit, (u + 1)·g·σ(α·g): g is the gate, at most the limit, u is up, within it on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamped {
    /// α.
    pub alpha: f32,
    /// The limit.
    pub limit: f32,
}

/// Gate and up, which stand side by side, of rows like those of `one`.
///
/// # Panics
/// If they are not twice as wide.
fn halves<'t>(both: Mat<'t>, one: Mat<'_>) -> [Mat<'t>; 2] {
    let columns = one.columns();
    assert_eq!(both.columns(), 2 * columns, "columns of gate and up");
    [0..columns, columns..2 * columns].map(|half| both.of_columns(half))
}

impl Gpu {
    /// out = activation(gate)∘up: `gate_up` is (T, 2I), gate | up, out is (T, I), all activations.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn gated(
        &self,
        gate_up: Mat<'_>,
        activation: Activation,
        out: Mat<'_>,
    ) -> Result<(), Error> {
        self.gated_pair(halves(gate_up, out), activation, out)
    }

    /// The same of a gate and what it lets through, (T, I) each.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn gated_pair(
        &self,
        [gate, up]: [Mat<'_>; 2],
        activation: Activation,
        out: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (out.rows(), out.columns());
        check_mat("gate", gate, self.dtype(), rows, columns);
        check_mat("up", up, self.dtype(), rows, columns);
        check_mat("gated", out, self.dtype(), rows, columns);
        let args = Args::new()
            .mat(gate)
            .mat(up)
            .int(activation.is_gelu())
            .mat(out)
            .long(rows)
            .long(columns);
        self.launch("gated", over_values(rows, columns), &args)
    }

    /// The gradients of gate and up from that of the product, `d` (T, I). They may go where gate and up are.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn gated_backward(
        &self,
        gate_up: Mat<'_>,
        activation: Activation,
        d: Mat<'_>,
        d_gate_up: Mat<'_>,
    ) -> Result<(), Error> {
        let (pair, gradients) = (halves(gate_up, d), halves(d_gate_up, d));
        self.gated_pair_backward(pair, activation, d, gradients)
    }

    /// The same of a gate and what it lets through, (T, I) each. Each gradient may go where its own is.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn gated_pair_backward(
        &self,
        [gate, up]: [Mat<'_>; 2],
        activation: Activation,
        d: Mat<'_>,
        [d_gate, d_up]: [Mat<'_>; 2],
    ) -> Result<(), Error> {
        let (rows, columns) = (d.rows(), d.columns());
        check_mat("gate", gate, self.dtype(), rows, columns);
        check_mat("up", up, self.dtype(), rows, columns);
        check_mat("gradient", d, self.dtype(), rows, columns);
        check_mat("gate's gradient", d_gate, self.dtype(), rows, columns);
        check_mat("up's gradient", d_up, self.dtype(), rows, columns);
        let args = Args::new()
            .mat(gate)
            .mat(up)
            .int(activation.is_gelu())
            .mat(d)
            .mat(d_gate)
            .mat(d_up)
            .long(rows)
            .long(columns);
        self.launch("gated_backward", over_values(rows, columns), &args)
    }

    /// out = (u + 1)·g·σ(α·g) of the clamped gate and up: shapes as in [`gated`](Self::gated).
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn clamped(&self, gate_up: Mat<'_>, unit: Clamped, out: Mat<'_>) -> Result<(), Error> {
        let (rows, columns) = (out.rows(), out.columns());
        check_mat("gate and up", gate_up, self.dtype(), rows, 2 * columns);
        check_mat("what the unit gives", out, self.dtype(), rows, columns);
        let args = Args::new()
            .mat(gate_up)
            .float(unit.alpha)
            .float(unit.limit)
            .mat(out)
            .long(rows)
            .long(columns);
        self.launch("clamped", over_values(rows, columns), &args)
    }

    /// The gradients of gate and up from that of the unit, `d` (T, I); 0 beyond the limit. They may go where gate and up are.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn clamped_backward(
        &self,
        gate_up: Mat<'_>,
        unit: Clamped,
        d: Mat<'_>,
        d_gate_up: Mat<'_>,
    ) -> Result<(), Error> {
        let (rows, columns) = (d.rows(), d.columns());
        check_mat("gate and up", gate_up, self.dtype(), rows, 2 * columns);
        check_mat("gradient", d, self.dtype(), rows, columns);
        let both = 2 * columns;
        check_mat("their gradients", d_gate_up, self.dtype(), rows, both);
        let args = Args::new()
            .mat(gate_up)
            .float(unit.alpha)
            .float(unit.limit)
            .mat(d)
            .mat(d_gate_up)
            .long(rows)
            .long(columns);
        self.launch("clamped_backward", over_values(rows, columns), &args)
    }
}
