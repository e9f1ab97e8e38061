//! Mamba-2 in a layer on the device: of the normalised hidden state a gate, x, B and C through a causal convolution, and what steps
//! are made of; the state space rule, and its output through the gate, with a norm behind that or before it or without one.
//! What the linear layer gives is kept, the rule's output and the norm's 1/rms; the convolution and the states are made again.
use super::kinds::Kind;
use super::pass::LayerPass;
use super::saved::Saved;
use super::states::Convolution;
use crate::fused::states::MambaLayer;
use crate::{Base, Error};
use lora_checkpoint::{MambaNorm, MambaShape, Projection};
use lora_gpu::{Dtype, GatedNorm, Gpu, Mat, SsdGradients, SsdInputs, SsdLearned, SsdShape, Tensor};

/// What such a layer learns beside its linear layers.
#[derive(Debug)]
pub(super) struct Mamba {
    conv: Convolution,
    /// A number a head each.
    a_log: Tensor,
    dt_bias: Tensor,
    skip: Tensor,
    /// γ of the norm behind the rule.
    norm: Option<Tensor>,
    behind_gate: bool,
    shape: SsdShape,
    limits: [f32; 2],
}

/// The heads as kernels have them.
pub(super) fn shape(own: MambaShape) -> SsdShape {
    SsdShape {
        heads: own.heads,
        groups: own.groups,
        width: own.width,
        state: own.state,
    }
}

/// Values that a layer learns beside its linear layers.
pub(super) fn planned(own: MambaShape) -> usize {
    let taps = own.taps + usize::from(own.conv_bias);
    let norm = match own.norm {
        MambaNorm::Without => 0,
        MambaNorm::BehindGate | MambaNorm::BeforeGate => own.values(),
    };
    taps * own.columns() + 3 * own.heads + norm
}

impl Mamba {
    /// That of a layer, if it is one of Mamba-2.
    pub(super) fn load(base: &Base, gpu: &Gpu, layer: usize) -> Result<Option<Self>, Error> {
        let read = MambaLayer::of(base, layer)?.zip(base.config().mamba);
        let Some((read, own)) = read else {
            return Ok(None);
        };
        let vector = |values: &[f32]| gpu.uploaded(Dtype::F32, values);
        let taps = (&read.taps[..], read.bias.as_deref());
        Ok(Some(Self {
            conv: Convolution::load(gpu, taps, own.columns())?.through_silu(),
            a_log: vector(&read.decay_log)?,
            dt_bias: vector(&read.step_bias)?,
            skip: vector(&read.skip)?,
            norm: read.norm.as_deref().map(vector).transpose()?,
            behind_gate: own.norm != MambaNorm::BeforeGate,
            shape: shape(own),
            limits: own.limits.map(|limit| limit as f32),
        }))
    }

    fn gated_norm(&self) -> GatedNorm<'_> {
        GatedNorm {
            gamma: self.norm.as_ref(),
            groups: self.shape.groups,
            behind: self.behind_gate,
        }
    }
}

/// What the linear layer gives, or its gradient: the gate, what the convolution reads, and what steps are made of.
#[derive(Clone, Copy)]
struct Sides<'t> {
    z: Mat<'t>,
    read: Mat<'t>,
    dt: Mat<'t>,
}

impl<'p> LayerPass<'p> {
    fn sides<'t>(self, own: &Mamba, tensor: &'t Tensor) -> Sides<'t> {
        let linears = &self.group(Kind::Qkv).linears;
        let found = linears.iter().find(|l| l.projection == Projection::MambaIn);
        let first = found.map_or(0, |linear| linear.rows.start);
        let all = self.mixed(tensor);
        let [z, read, dt] = [own.shape.values(), own.shape.columns(), own.shape.heads];
        Sides {
            z: all.of_columns(first..first + z),
            read: all.of_columns(first + z..first + z + read),
            dt: all.of_columns(first + z + read..first + z + read + dt),
        }
    }

    fn ssd_inputs<'t>(self, own: &'t Mamba, mixed: Mat<'t>, dt: Mat<'t>) -> SsdInputs<'t>
    where
        'p: 't,
    {
        SsdInputs {
            shape: own.shape,
            chunks: self.chunks(),
            mixed,
            dt,
            learned: SsdLearned {
                a_log: &own.a_log,
                dt_bias: &own.dt_bias,
                skip: &own.skip,
                limits: own.limits,
            },
        }
    }

    /// Rows that the convolution gives, or their gradient, (T, columns).
    fn convolved<'t>(self, own: &Mamba, tensor: &'t Tensor) -> Mat<'t> {
        tensor.mat(self.pass.rows, own.shape.columns())
    }

    /// What the output projection reads, from what the linear layer gave.
    pub(super) fn mamba(self, own: &Mamba, saved: &Saved) -> Result<(), lora_gpu::Error> {
        let (gpu, taps, spans) = (self.pass.gpu, own.conv.taps(), self.spans());
        let Sides { z, read, dt } = self.sides(own, &saved.qkv);
        let mixed = self.convolved(own, &self.scratch.convolved);
        let kept = self.kept();
        gpu.conv(taps, read, spans, kept.map(|kept| &kept.tails), mixed)?;
        if let Some(kept) = kept {
            gpu.keep_tails(taps, read, spans, &kept.tails)?;
        }
        let y = saved.rule.mat(self.pass.rows, own.shape.values());
        let states = kept.map(|kept| &kept.states);
        let inputs = self.ssd_inputs(own, mixed, dt);
        gpu.ssd(inputs, states, y, &self.scratch.rule)?;
        let kind = self.state_output();
        let to = self.plain(kind, saved.input(kind));
        gpu.gated_norm(own.gated_norm(), [y, z], self.eps(), to, &saved.rule_rstd)
    }

    /// From the gradient of what the output projection has read, which is overwritten, to that of what the linear layer gave.
    pub(super) fn mamba_backward(
        self,
        own: &Mamba,
        saved: &Saved,
        dy: Mat<'_>,
    ) -> Result<(), lora_gpu::Error> {
        let (gpu, taps, spans) = (self.pass.gpu, own.conv.taps(), self.spans());
        let Sides { z, read, dt } = self.sides(own, &saved.qkv);
        let to = self.sides(own, &self.scratch.d_outputs);
        let y = saved.rule.mat(self.pass.rows, own.shape.values());
        let rstd = &saved.rule_rstd;
        gpu.gated_norm_backward(own.gated_norm(), [y, z], rstd, dy, [dy, to.z])?;
        let mixed = self.convolved(own, &self.scratch.convolved);
        gpu.conv(taps, read, spans, None, mixed)?;
        let d_mixed = self.convolved(own, &self.scratch.d_convolved);
        let gradients = SsdGradients {
            mixed: d_mixed,
            dt: to.dt,
        };
        let inputs = self.ssd_inputs(own, mixed, dt);
        gpu.ssd_backward(inputs, dy, gradients, &self.scratch.rule)?;
        gpu.conv_backward(taps, read, spans, d_mixed, to.read)
    }
}
