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
        let (rows, columns) = (out.rows(), out.columns());
        check_mat("gate and up", gate_up, self.dtype(), rows, 2 * columns);
        check_mat("gated", out, self.dtype(), rows, columns);
        let args = Args::new()
            .mat(gate_up)
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
        let (rows, columns) = (d.rows(), d.columns());
        check_mat("gate and up", gate_up, self.dtype(), rows, 2 * columns);
        check_mat("gradient", d, self.dtype(), rows, columns);
        check_mat(
            "their gradients",
            d_gate_up,
            self.dtype(),
            rows,
            2 * columns,
        );
        let args = Args::new()
            .mat(gate_up)
            .int(activation.is_gelu())
            .mat(d)
            .mat(d_gate_up)
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
