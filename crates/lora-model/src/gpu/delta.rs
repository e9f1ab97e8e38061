//! Gated DeltaNet in a layer on the device: of the normalised hidden state queries, keys and values through a causal convolution,
//! the gated delta rule, and the gated norm of its output. What the linear layers give is kept, the rule's output and 1/rms of
//! it; the convolution and the states are made again.
use super::kinds::Kind;
use super::pass::LayerPass;
use super::rule_layers::Delta;
use super::saved::Saved;
use lora_checkpoint::Projection;
use lora_gpu::{DeltaGradients, DeltaInputs, Mat, Tensor};

/// What the linear layers give, or its gradient: what the convolution reads, the gate, and what β and decay are made of.
#[derive(Clone, Copy)]
struct Sides<'t> {
    read: Mat<'t>,
    z: Mat<'t>,
    b: Mat<'t>,
    a: Mat<'t>,
}

impl<'p> LayerPass<'p> {
    fn delta_sides<'t>(self, tensor: &'t Tensor) -> Sides<'t> {
        let linears = &self.group(Kind::Qkv).linears;
        let all = self.mixed(tensor);
        let part = |projection| {
            let found = linears.iter().find(|l| l.projection == projection);
            all.of_columns(found.map_or(0..0, |linear| linear.rows.clone()))
        };
        Sides {
            read: part(Projection::DeltaQkv),
            z: part(Projection::DeltaZ),
            b: part(Projection::DeltaB),
            a: part(Projection::DeltaA),
        }
    }

    fn delta_inputs<'t>(self, own: &'t Delta, mixed: Mat<'t>, sides: Sides<'t>) -> DeltaInputs<'t>
    where
        'p: 't,
    {
        DeltaInputs {
            shape: own.shape,
            chunks: self.steps(),
            mixed,
            a: sides.a,
            b: sides.b,
            a_log: &own.a_log,
            dt_bias: &own.dt_bias,
        }
    }

    /// What the output projection reads, from what the linear layers gave.
    pub(super) fn delta(self, own: &Delta, saved: &Saved) -> Result<(), lora_gpu::Error> {
        let (gpu, taps, spans) = (self.pass.gpu, own.conv.taps(), self.spans());
        let sides = self.delta_sides(&saved.qkv);
        let columns = own.shape.columns();
        let mixed = self.scratch.convolved.mat(self.pass.rows, columns);
        let kept = self.kept();
        gpu.conv(taps, sides.read, spans, kept.map(|kept| &kept.tails), mixed)?;
        if let Some(kept) = kept {
            gpu.keep_tails(taps, sides.read, spans, &kept.tails)?;
        }
        let o = saved.rule.mat(self.pass.rows, own.shape.values());
        let states = kept.map(|kept| &kept.states);
        let inputs = self.delta_inputs(own, mixed, sides);
        gpu.delta(inputs, states, o, &self.scratch.rule)?;
        let to = self.plain(Kind::Output, saved.input(Kind::Output));
        let read = [o, sides.z];
        gpu.gated_norm(own.gated_norm(), read, self.eps(), to, &saved.rule_rstd)
    }

    /// From the gradient of what the output projection has read, which is overwritten, to those of what the linear layers gave.
    pub(super) fn delta_backward(
        self,
        own: &Delta,
        saved: &Saved,
        dy: Mat<'_>,
    ) -> Result<(), lora_gpu::Error> {
        let (gpu, taps, spans) = (self.pass.gpu, own.conv.taps(), self.spans());
        let sides = self.delta_sides(&saved.qkv);
        let to = self.delta_sides(&self.scratch.d_outputs);
        let o = saved.rule.mat(self.pass.rows, own.shape.values());
        let (norm, rstd) = (own.gated_norm(), &saved.rule_rstd);
        gpu.gated_norm_backward(norm, [o, sides.z], rstd, dy, [dy, to.z])?;
        let columns = own.shape.columns();
        let mixed = self.scratch.convolved.mat(self.pass.rows, columns);
        gpu.conv(taps, sides.read, spans, None, mixed)?;
        let d_mixed = self.scratch.d_convolved.mat(self.pass.rows, columns);
        let gradients = DeltaGradients {
            mixed: d_mixed,
            a: to.a,
            b: to.b,
        };
        let inputs = self.delta_inputs(own, mixed, sides);
        gpu.delta_backward(inputs, dy, gradients, &self.scratch.rule)?;
        gpu.conv_backward(taps, sides.read, spans, d_mixed, to.read)
    }
}
