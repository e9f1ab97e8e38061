//! The MLP of a layer on the device, and what it and experts read, forward and backward.
use super::kinds::Kind;
use super::pass::LayerPass;
use super::saved::Saved;
use lora_gpu::{Error, Mat, Tensor, Write};
use lora_kernels::profile::Part;

impl<'p> LayerPass<'p> {
    /// What the MLP's unit reads.
    fn gate_up<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        tensor.mat(self.pass.rows, self.group(Kind::GateUp).outputs)
    }

    /// Whether all tokens go through an MLP.
    pub(super) fn has_mlp(self) -> bool {
        !self.group(Kind::GateUp).linears.is_empty()
    }

    /// x += what the MLP gives for its input in `saved`.
    pub(super) fn add_mlp(self, x: Mat<'_>, saved: &Saved) -> Result<(), Error> {
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
    pub(super) fn mlp_input<'t>(self, x: &Tensor, saved: &'t Saved) -> Result<Mat<'t>, Error>
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

    /// From the gradient dy (T, H) of what MLP and experts give that of what they read, in the scratch.
    pub(super) fn mlp_backward(
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
}
