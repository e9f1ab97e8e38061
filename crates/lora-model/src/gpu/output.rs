//! What is added to the hidden state on the device: outputs of attention, of the MLP and of a layer's input, each normalised or
//! multiplied where the family does so.
use super::kinds::Kind;
use super::pass::LayerPass;
use super::saved::Saved;
use super::trained_norms::NormBackward;
use lora_checkpoint::Norm;
use lora_gpu::{Error, Mat, Tensor, Write};

impl<'p> LayerPass<'p> {
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

    /// x += the output of attention, of the MLP or of the layer's input, normalised where the family does so.
    pub(super) fn add_output(self, kind: Kind, x: Mat<'_>, saved: &Saved) -> Result<(), Error> {
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
            Kind::InputOutput => (
                self.layer.input_output_norm.as_ref(),
                saved.input_output.as_ref(),
                saved.input_output_rstd.as_ref(),
            ),
            _ => (
                self.layer.mlp_output_norm.as_ref(),
                saved.mlp_output.as_ref(),
                saved.mlp_output_rstd.as_ref(),
            ),
        }
    }

    /// The gradient of the output of attention, of the MLP or of the layer's input before its norm, in the activations' type; adds
    /// to that of what trains of the norm.
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
                    Kind::InputOutput => Norm::PerLayerOutput,
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
