//! A layer's own input e, where it has one: after the MLP norm(V·(activation(G·x)∘e)) is added to the hidden state x. Then that is
//! multiplied by the layer's number, in families that have such.
use super::kinds::Kind;
use super::pass::LayerPass;
use super::saved::Saved;
use super::unit::Unit;
use lora_gpu::{Activation, Error, Mat, Tensor};
use lora_kernels::profile::Part;

impl<'p> LayerPass<'p> {
    /// P, if the layer has an input of its own.
    fn own_width(self) -> Option<usize> {
        self.pass.config.per_layer().map(|own| own.width)
    }

    /// What the gate goes through: what that of the MLP does.
    fn input_activation(self) -> Activation {
        match self.layer.unit {
            Unit::Gated(activation) => activation,
            Unit::Plain(_) => unreachable!("a family with inputs of layers has a gated MLP"),
        }
    }

    /// Adds what the layer makes of its input to x (T, H), and multiplies the sum by the layer's number.
    pub(super) fn add_input(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        let hidden = self.hidden(x);
        if let Some(width) = self.own_width() {
            self.add_own(hidden, width, saved)?;
        }
        self.scale_output(hidden)
    }

    fn add_own(self, x: Mat<'_>, width: usize, saved: &Saved) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let read = self.plain(Kind::InputGate, saved.input(Kind::InputGate));
        gpu.convert(x, 1.0, read)?;
        let gate = saved.input_gate.mat(self.pass.rows, width);
        self.forward(Kind::InputGate, saved, gate)?; // (T, H) -> (T, P)
        let to = self.plain(Kind::InputOutput, saved.input(Kind::InputOutput));
        let pair = [gate, self.own_input(width)];
        self.pass.timed(Part::Activation, 0, || {
            gpu.gated_pair(pair, self.input_activation(), to)
        })?;
        self.add_output(Kind::InputOutput, x, saved) // (T, P) -> += (T, H)
    }

    /// Times the layer's number.
    fn scale_output(self, x: Mat<'_>) -> Result<(), Error> {
        match self.layer.output_scale {
            1.0 => Ok(()),
            factor => self.pass.gpu.convert(x, factor, x),
        }
    }

    /// dx (T, H), the gradient of the layer's output, becomes that of the hidden state after its MLP; that of its input goes to
    /// the input's place.
    pub(super) fn input_backward(
        self,
        dx: Mat<'_>,
        saved: &Saved,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        self.scale_output(dx)?;
        let Some(width) = self.own_width() else {
            return Ok(());
        };
        let gpu = self.pass.gpu;
        let dy = self.output_gradient(Kind::InputOutput, dx, (saved, gradients))?;
        let d = self.backward(Kind::InputOutput, saved, dy, gradients)?; // (T, H) -> (T, P)
        let of_rows = |tensor: &'p Tensor| tensor.mat(self.pass.rows, width);
        let (gate, input) = (
            saved.input_gate.mat(self.pass.rows, width),
            self.own_input(width),
        );
        let d_gate = of_rows(&self.scratch.d_outputs);
        self.pass.timed(Part::Activation, 0, || {
            let activation = self.input_activation();
            gpu.gated_pair_backward([gate, input], activation, d, [d_gate, input])
        })?;
        let dn = self.backward(Kind::InputGate, saved, d_gate, gradients)?; // (T, P) -> (T, H)
        gpu.add(dn, dx)
    }
}
