//! What mixes the tokens of a layer on the device, forward and backward: attention, or what keeps a state in its place.
use super::group::Kind;
use super::pass::LayerPass;
use super::scratch::Saved;
use super::states::StateLayer;
use lora_gpu::{Error, Mat, Tensor};
use lora_kernels::profile::Part;

/// Values by which rows of what mixers read are aligned: chunks of them are copied at once.
pub(super) const ALIGNED: usize = 8;

impl<'p> LayerPass<'p> {
    /// What the linear layers give that mixers read, or its gradient, (T, out).
    pub(super) fn mixed<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        let outputs = self.group(Kind::Qkv).outputs;
        let stride = outputs.next_multiple_of(ALIGNED);
        tensor.strided(0, self.pass.rows, outputs, stride)
    }

    /// From the hidden state x (T, H) to what the output projection reads.
    pub(super) fn mix(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        let [n, ..] = &saved.inputs;
        let norm = (&self.layer.input_norm, &saved.input_rstd);
        self.normed(self.hidden(x), norm, self.plain(Kind::Qkv, n))?;
        self.forward(Kind::Qkv, saved, self.mixed(&saved.qkv))?; // (T, H) -> (T, out)
        match &self.layer.state {
            None => self.attend(saved),
            Some(StateLayer::ShortConv(own)) => {
                let run = || self.short_conv(own, saved);
                self.pass.timed(Part::AttentionForward, 0, run)
            }
            Some(StateLayer::Mamba(own)) => {
                let run = || self.mamba(own, saved);
                self.pass.timed(Part::AttentionForward, 0, run)
            }
        }
    }

    /// From the gradient dy (T, H) of the output projection's output that of what the mixers' linear layers have read, in the
    /// scratch; adds to the gradients of what trains.
    pub(super) fn mix_backward(
        self,
        dy: Mat<'_>,
        saved: &Saved,
        gradients: &Tensor,
    ) -> Result<Mat<'p>, Error> {
        let d_o = self.backward(Kind::Output, saved, dy, gradients)?;
        let d_mixed = self.mixed(&self.scratch.d_outputs);
        match &self.layer.state {
            None => self.attend_backward(saved, d_o)?,
            Some(StateLayer::ShortConv(own)) => {
                let run = || self.short_conv_backward(own, saved, d_o, d_mixed);
                self.pass.timed(Part::AttentionBackward, 0, run)?;
            }
            Some(StateLayer::Mamba(own)) => {
                let run = || self.mamba_backward(own, saved, d_o);
                self.pass.timed(Part::AttentionBackward, 0, run)?;
            }
        }
        self.backward(Kind::Qkv, saved, d_mixed, gradients)
    }
}
