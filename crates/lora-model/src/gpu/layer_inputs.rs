//! The inputs of all layers, where they have such: before the first layer they are made of the embedding x and of a table's rows,
//! e_l = (norm(W·x/√H)_l + √P·E[id]_l)/√2. Layers put the gradients of theirs in their place.
use super::input_table::InputTable;
use super::kinds::Kind;
use super::pass::LayerPass;
use super::saved::Saved;
use super::trained_norms::NormBackward;
use lora_checkpoint::Norm;
use lora_gpu::{Error, Mat, TableRows, Tensor, Write};
use std::f32::consts::FRAC_1_SQRT_2;

impl<'p> LayerPass<'p> {
    /// (T, L·P).
    fn of_all_layers<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        let outputs = self.group(Kind::LayerInputs).outputs;
        tensor.mat(self.pass.rows, outputs)
    }

    /// ε, where the norm reads W·x in the place of W·x/√H.
    fn eps_of_inputs(self) -> f32 {
        self.eps() * self.pass.config.hidden_size as f32
    }

    /// The inputs of all layers, of the embedding x (T, H) and these rows. In the first layer alone.
    pub(super) fn make_inputs(
        self,
        own: &InputTable,
        rows: TableRows<'_>,
        x: &Tensor,
        saved: &Saved,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let scratch = &self.scratch.inputs;
        let to = self.plain(Kind::LayerInputs, saved.input(Kind::LayerInputs));
        gpu.convert(self.hidden(x), 1.0, to)?;
        let raw = self.of_all_layers(&scratch.raw);
        self.forward(Kind::LayerInputs, saved, raw)?; // (T, H) -> (T, L·P)
        let norm = (&own.norm, self.eps_of_inputs());
        let to = (self.of_all_layers(&scratch.all), &scratch.rstd);
        gpu.layer_inputs(raw, norm, rows, FRAC_1_SQRT_2, to)
    }

    /// The layer's own, or the gradient of it, (T, P).
    pub(super) fn own_input(self, width: usize) -> Mat<'p> {
        let first = self.index * width;
        let all = self.pass.config.num_hidden_layers * width;
        let all = self.scratch.inputs.all.mat(self.pass.rows, all);
        all.of_columns(first..first + width)
    }

    /// Adds to dx (T, H), the gradient of the embedding, what comes back through the inputs of all layers, and to the gradients
    /// of what trains. In the first layer alone.
    pub(super) fn inputs_backward(
        self,
        own: &InputTable,
        dx: &Tensor,
        (saved, gradients): (&Saved, &Tensor),
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let scratch = &self.scratch.inputs;
        let (x, d) = (
            self.of_all_layers(&scratch.raw),
            self.of_all_layers(&scratch.all),
        );
        gpu.convert(d, FRAC_1_SQRT_2, d)?;
        let rstd = &scratch.rstd;
        let back = NormBackward {
            x,
            rstd,
            dn: d,
            means: None,
        };
        self.norm_gradients(Norm::PerLayerInput, back, gradients)?;
        gpu.norm_backward(x, &own.norm, rstd, d, d, Write::Replace)?;
        let d_x = self.backward(Kind::LayerInputs, saved, d, gradients)?;
        gpu.add(d_x, self.hidden(dx))
    }
}
