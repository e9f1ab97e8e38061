//! One decoder layer on the device, forward and backward. Reads top to bottom as the model does; what a family does not have
//! is skipped.
use super::kinds::Kind;
use super::norms::NormLayer;
use super::pass::LayerPass;
use super::saved::Saved;
use super::trained_norms::{NormBackward, add_gradients};
use lora_checkpoint::{Block, Norm};
use lora_gpu::{Error, Mat, Tensor, Write};

impl<'p> LayerPass<'p> {
    pub(super) fn eps(self) -> f32 {
        self.pass.config.norm_eps as f32
    }

    /// A hidden state, (T, H).
    pub(super) fn hidden<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        tensor.mat(self.pass.rows, self.pass.config.hidden_size)
    }

    /// Values of the hidden state.
    pub(super) fn hidden_len(self) -> usize {
        self.pass.rows * self.pass.config.hidden_size
    }

    /// Whether the MLP reads what attention reads.
    pub(super) fn is_parallel(self) -> bool {
        self.pass.config.facts().block == Block::Parallel
    }

    /// x (T, H) becomes the layer's output; `saved` keeps what the backward pass needs.
    pub(super) fn run(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        self.pass.gpu.copy(x, &saved.x, self.hidden_len())?;
        self.mix(x, saved)?;
        self.after_attention(x, saved)?;
        self.add_input(x, saved)
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

    /// From attention's output to the hidden state behind the MLP.
    fn after_attention(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
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

    /// dx (T, H), the gradient of the layer's output, becomes that of its input; adds to the adapter's gradients.
    pub(super) fn run_backward(
        self,
        dx: &Tensor,
        saved: &Saved,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let d_hidden = self.hidden(dx);
        self.input_backward(d_hidden, saved, gradients)?;
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
}
