//! Mamba-2 in a layer on the device: of the normalised hidden state a gate, x, B and C through a causal convolution, and what steps
//! are made of; the state space rule, and its output through the gate, with a norm behind that or before it or without one.
//! What the linear layer gives is kept, the rule's output and the norm's 1/rms; the convolution and the states are made again.
use super::kinds::Kind;
use super::pass::LayerPass;
use super::rule_layers::Mamba;
use super::saved::Saved;
use lora_checkpoint::Projection;
use lora_gpu::{Mat, SsdGradients, SsdInputs, SsdLearned, Tensor};

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
