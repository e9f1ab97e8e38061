//! What mixes the tokens of a layer on the device, forward and backward: attention, what keeps a state in its place, or both side
//! by side.
use super::kinds::{Kind, mixed_stride};
use super::pass::LayerPass;
use super::saved::Saved;
use super::sequences::Sequences;
use super::states::{Kept, StateLayer};
use lora_gpu::{ChunkSteps, Chunks, Error, Mat, Spans, Tensor};
use lora_kernels::profile::Part;

impl<'p> LayerPass<'p> {
    /// What the linear layers give that mixers read, or its gradient, (T, out).
    pub(super) fn mixed<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        let outputs = self.group(Kind::Qkv).outputs;
        tensor.strided(0, self.pass.rows, outputs, self.mixed_stride())
    }

    /// Values from a row of that to the next.
    pub(super) fn mixed_stride(self) -> usize {
        let outputs = self.group(Kind::Qkv).outputs;
        mixed_stride(self.pass.config, self.index, outputs)
    }

    /// From the hidden state x (T, H) to what the output projections read.
    pub(super) fn mix(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        let n = self.plain(Kind::Qkv, saved.input(Kind::Qkv));
        let norm = (&self.layer.input_norm, &saved.input_rstd);
        self.normed(self.hidden(x), norm, n)?;
        self.forward(Kind::Qkv, saved, self.mixed(&saved.qkv))?; // (T, H) -> (T, out)
        let part = Part::AttentionForward;
        match &self.layer.state {
            None => {}
            Some(StateLayer::ShortConv(own)) => {
                self.pass.timed(part, 0, || self.short_conv(own, saved))?;
            }
            Some(StateLayer::Mamba(own)) => {
                self.pass.timed(part, 0, || self.mamba(own, saved))?;
            }
            Some(StateLayer::Delta(own)) => {
                self.pass.timed(part, 0, || self.delta(own, saved))?;
            }
        }
        match self.has_attention() {
            true => self.attend(saved),
            false => Ok(()),
        }
    }

    fn has_attention(self) -> bool {
        self.pass.config.layers[self.index].has_attention()
    }

    /// The group of the output of what keeps a state.
    pub(super) fn state_output(self) -> Kind {
        match self.has_attention() {
            true => Kind::Beside,
            false => Kind::Output,
        }
    }

    /// From the gradient of the hidden state that the mixers' outputs were added to, dx (T, H), that of what their linear layers
    /// have read, in the scratch; adds to the gradients of what trains. `dy` is the gradient of the outputs, where it is there.
    pub(super) fn mix_backward(
        self,
        (dx, dy): (Mat<'_>, Option<Mat<'_>>),
        saved: &Saved,
        gradients: &Tensor,
    ) -> Result<Mat<'p>, Error> {
        let back = |kind: Kind| {
            let dy = match dy {
                Some(dy) => dy,
                None => self.output_gradient(kind, dx, (saved, gradients))?,
            };
            self.backward(kind, saved, dy, gradients)
        };
        let d_mixed = self.mixed(&self.scratch.d_outputs);
        let part = Part::AttentionBackward;
        match &self.layer.state {
            None => {}
            Some(StateLayer::ShortConv(own)) => {
                let d_o = back(Kind::Output)?;
                let run = || self.short_conv_backward(own, saved, d_o, d_mixed);
                self.pass.timed(part, 0, run)?;
            }
            Some(StateLayer::Mamba(own)) => {
                let d_o = back(self.state_output())?;
                let run = || self.mamba_backward(own, saved, d_o);
                self.pass.timed(part, 0, run)?;
            }
            Some(StateLayer::Delta(own)) => {
                let d_o = back(Kind::Output)?;
                let run = || self.delta_backward(own, saved, d_o);
                self.pass.timed(part, 0, run)?;
            }
        }
        if self.has_attention() {
            self.attend_backward(saved, back(Kind::Output)?, gradients)?;
        }
        self.multiply_outputs(Kind::Qkv, d_mixed)?;
        self.backward(Kind::Qkv, saved, d_mixed, gradients)
    }
}

impl<'p> LayerPass<'p> {
    /// The sequences of the pass, in a layer that keeps a state.
    fn sequences(self) -> &'p Sequences {
        match &self.pass.sequences {
            Some(sequences) => sequences,
            None => unreachable!("a decoder with such layers has them"),
        }
    }

    /// Which rows belong to them.
    pub(super) fn spans(self) -> &'p Spans {
        &self.sequences().spans
    }

    /// Their chunks.
    pub(super) fn chunks(self) -> &'p Chunks {
        match &self.sequences().chunks {
            Some(chunks) => chunks,
            None => unreachable!("a decoder with Mamba-2 has them"),
        }
    }

    /// The same in steps.
    pub(super) fn steps(self) -> &'p ChunkSteps {
        match &self.sequences().steps {
            Some(steps) => steps,
            None => unreachable!("a decoder with Gated DeltaNet has them"),
        }
    }

    /// What generation keeps of the texts in this layer.
    pub(super) fn kept(self) -> Option<&'p Kept> {
        self.pass
            .cache
            .as_ref()
            .map(|cache| &cache.kept[self.index])
    }
}
