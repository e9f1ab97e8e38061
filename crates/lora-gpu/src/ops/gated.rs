//! Gated linear units: activation(gate) ∘ up.
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
}
