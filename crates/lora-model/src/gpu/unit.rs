//! What the MLP of a layer computes between its projections.
use crate::spec::Projection;
use crate::{Base, Error};
use lora_checkpoint::{Activation, EXPERT_PROJECTIONS, Experts, Mlp};
use lora_gpu::{Activation as OnDevice, Clamped, Gpu, Mat, Plain};

/// The projections of an expert that read its input, and the one that gives its output.
pub(super) const READS: &[Projection] = EXPERT_PROJECTIONS.split_at(2).0;
pub(super) const GIVES: &[Projection] = EXPERT_PROJECTIONS.split_at(2).1;

/// What stands between the projections.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    /// activation(gate)∘up.
    Gated(OnDevice),
    /// A function of up.
    Plain(Plain),
}

/// An activation as the device's kernels call it.
fn on_device(activation: Activation) -> OnDevice {
    match activation {
        Activation::Silu => OnDevice::Silu,
        Activation::GeluTanh => OnDevice::GeluTanh,
    }
}

impl Unit {
    /// Of a layer.
    pub(super) fn of(base: &Base, layer: usize) -> Result<Self, Error> {
        Ok(match base.config().facts().mlp {
            Mlp::Gated(activation) => Self::Gated(on_device(activation)),
            Mlp::Plain(activation) => Self::Plain(Plain::Of(on_device(activation))),
            Mlp::Xielu => {
                let xielu = base.xielu(layer)?;
                Self::Plain(Plain::Xielu {
                    alpha_p: xielu.alpha_p,
                    alpha_n: xielu.alpha_n,
                    beta: xielu.beta,
                    eps: xielu.eps,
                })
            }
        })
    }

    /// out (T, I) of what the projections gave.
    pub(super) fn forward(
        self,
        gpu: &Gpu,
        x: Mat<'_>,
        out: Mat<'_>,
    ) -> Result<(), lora_gpu::Error> {
        match self {
            Self::Gated(activation) => gpu.gated(x, activation, out),
            Self::Plain(f) => gpu.activate(x, f, out),
        }
    }

    /// From the gradient d (T, I) of its output that of what the projections gave.
    pub(super) fn backward(
        self,
        gpu: &Gpu,
        x: Mat<'_>,
        d: Mat<'_>,
        dx: Mat<'_>,
    ) -> Result<(), lora_gpu::Error> {
        match self {
            Self::Gated(activation) => gpu.gated_backward(x, activation, d, dx),
            Self::Plain(f) => gpu.activate_backward(x, f, d, dx),
        }
    }
}

/// What stands between an expert's projections.
#[derive(Debug, Clone, Copy)]
pub(super) enum ExpertUnit {
    /// activation(gate)∘up.
    Gated(OnDevice),
    /// The clamped unit.
    Clamped(Clamped),
}

impl ExpertUnit {
    /// Of experts in a family with this activation.
    pub(super) fn of(own: Experts, activation: Activation) -> Self {
        match own.clamp {
            None => Self::Gated(on_device(activation)),
            Some(clamp) => Self::Clamped(Clamped {
                alpha: clamp.alpha as f32,
                limit: clamp.limit as f32,
            }),
        }
    }

    /// out (T·k, I) of what gates and ups gave.
    pub(super) fn forward(
        self,
        gpu: &Gpu,
        gate_up: Mat<'_>,
        out: Mat<'_>,
    ) -> Result<(), lora_gpu::Error> {
        match self {
            Self::Gated(activation) => gpu.gated(gate_up, activation, out),
            Self::Clamped(unit) => gpu.clamped(gate_up, unit, out),
        }
    }

    /// Gates and ups become their gradients, from that of the output, d (T·k, I).
    pub(super) fn backward(
        self,
        gpu: &Gpu,
        gate_up: Mat<'_>,
        d: Mat<'_>,
    ) -> Result<(), lora_gpu::Error> {
        match self {
            Self::Gated(activation) => gpu.gated_backward(gate_up, activation, d, gate_up),
            Self::Clamped(unit) => gpu.clamped_backward(gate_up, unit, d, gate_up),
        }
    }
}
