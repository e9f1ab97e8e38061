//! One decoder layer on the device, forward and backward. Reads top to bottom as the model does; what a family does not have
//! is skipped.
use super::kinds::Kind;
use super::norms::NormLayer;
use super::pass::LayerPass;
use super::saved::Saved;
use super::trained_norms::{NormBackward, add_gradients};
use lora_checkpoint::{Block, Norm};
use lora_gpu::{Error, Mat, Tensor, Write};
use lora_kernels::profile::Part;

impl<'p> LayerPass<'p> {
    pub(super) fn eps(self) -> f32 {
        self.pass.config.norm_eps as f32
    }

    /// What the outputs of attention and MLP are multiplied by; no family has it and norms of the outputs.
    pub(super) fn residual_multiplier(self) -> f32 {
        self.pass.config.multipliers.residual as f32
    }

    /// What the output of a group is multiplied by before it is added to the hidden state.
    pub(super) fn output_multiplier(self, kind: Kind) -> f32 {
        let linear = self.group(kind).linears.first();
        let own = linear.and_then(|linear| {
            let config = self.pass.config;
            config.output_factors(self.index, linear.projection)
        });
        let factor = own.and_then(|rows| rows.first().map(|&(_, factor)| factor as f32));
        self.residual_multiplier() * factor.unwrap_or(1.0)
    }

    /// A hidden state, (T, H).
    pub(super) fn hidden<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        tensor.mat(self.pass.rows, self.pass.config.hidden_size)
    }

    /// Values of the hidden state.
    fn hidden_len(self) -> usize {
        self.pass.rows * self.pass.config.hidden_size
    }

    /// What the MLP's unit reads.
    fn gate_up<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        tensor.mat(self.pass.rows, self.group(Kind::GateUp).outputs)
    }

    /// Whether the MLP reads what attention reads.
    fn is_parallel(self) -> bool {
        self.pass.config.facts().block == Block::Parallel
    }

    /// x (T, H) becomes the layer's output; `saved` keeps what the backward pass needs.
    pub(super) fn run(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        self.pass.gpu.copy(x, &saved.x, self.hidden_len())?;
        self.mix(x, saved)?;
        self.after_attention(x, saved)
    }

    /// What attention or MLP reads of the hidden state: its norm, or where the family has none itself.
    pub(super) fn normed(
        self,
        x: Mat<'_>,
        (norm, rstd): (&Option<NormLayer>, &Tensor),
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        match norm {
            Some(norm) => norm.forward(gpu, x, self.eps(), to, rstd),
            None => gpu.convert(x, 1.0, to),
        }
    }

    /// dx += the gradient through what [`Self::normed`] did before attention or before the MLP; adds to that of what trains of the
    /// norm.
    fn normed_backward(
        self,
        which: Norm,
        saved: &Saved,
        (dn, dx): (Mat<'_>, Mat<'_>),
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let (norm, x, rstd) = match which {
            Norm::Input => (&self.layer.input_norm, &saved.x, &saved.input_rstd),
            _ => (&self.layer.mlp_norm, &saved.middle, &saved.middle_rstd),
        };
        let x = self.hidden(x);
        let Some(norm) = norm else {
            return gpu.add(dn, dx);
        };
        // Attention alone uses that memory.
        let means = norm.subtracts_mean().then_some(&self.scratch.d_kv);
        let back = NormBackward { x, rstd, dn, means };
        self.norm_gradients(which, back, gradients)?;
        norm.backward(gpu, x, rstd, dn, dx, Write::Add)
    }

    /// Adds to the gradients of what trains of a norm.
    pub(super) fn norm_gradients(
        self,
        norm: Norm,
        back: NormBackward<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let of = (Some(self.index), norm);
        let all = &self.pass.on_device.bound.norms;
        add_gradients(self.pass.gpu, all, (of, back), gradients)
    }

    /// From attention's output to the layer's.
    pub(super) fn after_attention(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        let hidden = self.hidden(x);
        if !self.group(Kind::Beside).linears.is_empty() {
            self.add_output(Kind::Beside, hidden, saved)?;
        }
        self.add_output(Kind::Output, hidden, saved)?; // (T, q) -> += (T, H)
        let read = self.mlp_input(x, saved)?;
        if let Some(mixture) = &self.layer.mixture {
            self.add_experts(mixture, read, hidden, saved)?;
        }
        match self.has_mlp() {
            true => self.add_mlp(hidden, saved),
            false => Ok(()),
        }
    }

    /// Whether all tokens go through an MLP.
    fn has_mlp(self) -> bool {
        !self.group(Kind::GateUp).linears.is_empty()
    }

    /// x += what the MLP gives for its input in `saved`.
    fn add_mlp(self, x: Mat<'_>, saved: &Saved) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let activated = saved.input(Kind::Down);
        let gate_up = self.gate_up(&saved.gate_up);
        self.forward(Kind::GateUp, saved, gate_up)?; // (T, H) -> (T, 2·I), or (T, I) without a gate
        let to = self.plain(Kind::Down, activated);
        self.pass.timed(Part::Activation, 0, || {
            self.layer.unit.forward(gpu, gate_up, to)
        })?;
        self.add_output(Kind::Down, x, saved) // (T, I) -> += (T, H)
    }

    /// What MLP and experts read of the hidden state that attention was added to; beside attention what that has read. Experts
    /// alone need no copy of it for their backward pass: it is in `scratch.d_hidden`.
    fn mlp_input<'t>(self, x: &Tensor, saved: &'t Saved) -> Result<Mat<'t>, Error>
    where
        'p: 't,
    {
        let gpu = self.pass.gpu;
        let (read, n) = (saved.input(Kind::Qkv), saved.input(Kind::GateUp));
        let to = match self.has_mlp() {
            true => self.plain(Kind::GateUp, n),
            false => self.hidden(&self.scratch.d_hidden),
        };
        if self.is_parallel() {
            gpu.convert(self.plain(Kind::Qkv, read), 1.0, to)?;
            return Ok(to);
        }
        gpu.copy(x, &saved.middle, self.hidden_len())?;
        let norm = (&self.layer.mlp_norm, &saved.middle_rstd);
        self.normed(self.hidden(x), norm, to)?;
        Ok(to)
    }

    /// What router and experts have read, (T, H), if something trains there: where no MLP has read it, too, it is made again.
    pub(super) fn experts_read<'t>(self, saved: &'t Saved) -> Result<Option<Mat<'t>>, Error>
    where
        'p: 't,
    {
        if !self.pass.on_device.mixture(self.index).reads_input() {
            return Ok(None);
        }
        let input = |kind: Kind| self.plain(kind, saved.input(kind));
        if self.has_mlp() {
            return Ok(Some(input(Kind::GateUp)));
        }
        if self.is_parallel() {
            return Ok(Some(input(Kind::Qkv)));
        }
        let to = self.hidden(&self.scratch.experts.read);
        let norm = (&self.layer.mlp_norm, &saved.middle_rstd);
        self.normed(self.hidden(&saved.middle), norm, to)?;
        Ok(Some(to))
    }

    /// x += the output of attention or of the MLP, normalised where the family does so.
    fn add_output(self, kind: Kind, x: Mat<'_>, saved: &Saved) -> Result<(), Error> {
        let (gamma, output, rstd) = self.output_norm(kind, saved);
        let Some(((gamma, output), rstd)) = gamma.zip(output).zip(rstd) else {
            let multiplier = self.output_multiplier(kind);
            if multiplier == 1.0 {
                return self.forward(kind, saved, x);
            }
            let y = self.hidden(&self.scratch.d_hidden);
            self.forward(kind, saved, y)?;
            self.pass.gpu.convert(y, multiplier, y)?;
            return self.pass.gpu.add(y, x);
        };
        let y = self.hidden(output);
        self.forward(kind, saved, y)?;
        self.pass.gpu.norm_add(y, gamma, self.eps(), x, rstd)
    }

    fn output_norm<'s>(
        self,
        kind: Kind,
        saved: &'s Saved,
    ) -> (Option<&'p Tensor>, Option<&'s Tensor>, Option<&'s Tensor>) {
        match kind {
            Kind::Output | Kind::Beside => (
                self.layer.attention_output_norm.as_ref(),
                saved.attention_output.as_ref(),
                saved.attention_output_rstd.as_ref(),
            ),
            _ => (
                self.layer.mlp_output_norm.as_ref(),
                saved.mlp_output.as_ref(),
                saved.mlp_output_rstd.as_ref(),
            ),
        }
    }

    /// dx (T, H), the gradient of the layer's output, becomes that of its input; adds to the adapter's gradients.
    pub(super) fn run_backward(
        self,
        dx: &Tensor,
        saved: &Saved,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let d_hidden = self.hidden(dx);
        let dy = self.output_gradient(Kind::Down, d_hidden, (saved, gradients))?;
        let dn = self.mlp_backward(dy, saved, gradients)?;
        let dy = if self.is_parallel() {
            self.normed_backward(Norm::Input, saved, (dn, d_hidden), gradients)?;
            Some(dy) // both were added to one hidden state
        } else {
            self.normed_backward(Norm::MlpInput, saved, (dn, d_hidden), gradients)?;
            None
        };
        let dn = self.mix_backward((d_hidden, dy), saved, gradients)?;
        self.normed_backward(Norm::Input, saved, (dn, d_hidden), gradients)
    }

    /// From the gradient dy (T, H) of what MLP and experts give that of what they read, in the scratch.
    fn mlp_backward(
        self,
        dy: Mat<'_>,
        saved: &Saved,
        gradients: &Tensor,
    ) -> Result<Mat<'p>, Error> {
        let (mut dn, mut write) = (self.hidden(&self.scratch.d_input), Write::Replace);
        if self.has_mlp() {
            let gpu = self.pass.gpu;
            let d_activated = self.backward(Kind::Down, saved, dy, gradients)?;
            let gate_up = self.gate_up(&saved.gate_up);
            let d_gate_up = self.gate_up(&self.scratch.d_outputs);
            self.pass.timed(Part::Activation, 0, || {
                let unit = self.layer.unit;
                unit.backward(gpu, gate_up, d_activated, d_gate_up)
            })?;
            self.multiply_outputs(Kind::GateUp, d_gate_up)?;
            dn = self.backward(Kind::GateUp, saved, d_gate_up, gradients)?;
            write = Write::Add;
        }
        if let Some(mixture) = &self.layer.mixture {
            self.experts_backward(mixture, dy, (dn, write), (saved, gradients))?;
        }
        Ok(dn)
    }

    /// The gradient of the output of attention or of the MLP before its norm, in the activations' type; adds to that of what
    /// trains of the norm.
    pub(super) fn output_gradient(
        self,
        kind: Kind,
        dx: Mat<'_>,
        (saved, gradients): (&Saved, &Tensor),
    ) -> Result<Mat<'p>, Error> {
        let gpu = self.pass.gpu;
        let dy = self.hidden(&self.scratch.d_hidden);
        let (gamma, output, rstd) = self.output_norm(kind, saved);
        match gamma.zip(output).zip(rstd) {
            None => gpu.convert(dx, self.output_multiplier(kind), dy)?,
            Some(((gamma, output), rstd)) => {
                let output = self.hidden(output);
                let norm = match kind {
                    Kind::Output | Kind::Beside => Norm::AttentionOutput,
                    _ => Norm::MlpOutput,
                };
                let back = NormBackward {
                    x: output,
                    rstd,
                    dn: dx,
                    means: None,
                };
                self.norm_gradients(norm, back, gradients)?;
                gpu.norm_backward(output, gamma, rstd, dx, dy, Write::Replace)?;
            }
        }
        Ok(dy)
    }
}
