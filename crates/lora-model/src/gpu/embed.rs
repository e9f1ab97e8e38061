//! What precedes the first layer, and what comes back to it: the embedding, and the inputs of layers, where they have such.
use super::engine::Engine;
use super::pass::{LayerPass, Pass};
use super::places::PlacesOfPass;
use super::scratch::Scratch;
use super::table::Lookup;
use crate::Error;
use lora_gpu::Tensor;

impl Engine<'_> {
    /// The hidden state before the first layer, x (T, H), and the inputs of layers, where they have such.
    pub(super) fn begin(
        &mut self,
        pass: &Pass<'_>,
        (scratch, places): (&Scratch, &PlacesOfPass),
        x: &Tensor,
    ) -> Result<(), Error> {
        self.embed(pass, x)?;
        let own = self.weights.inputs.as_ref();
        let Some((own, saved)) = own.zip(places.before.as_ref()) else {
            return Ok(());
        };
        let ids = (&pass.ids, pass.rows);
        let wide = self.inputs_lookup.widened(&self.gpu, &own.table, ids)?;
        let root = self.config.per_layer().map_or(0, |own| own.width);
        let rows = Lookup::rows(&own.table, ids, wide.as_ref(), (root as f32).sqrt());
        let first = self.first_layer(pass, scratch);
        Ok(first.make_inputs(own, rows, x, saved)?)
    }

    /// What comes back through the inputs of layers, where they have such, joins the gradient of the embedding, `d_x` (T, H).
    pub(super) fn end(
        &self,
        pass: &Pass<'_>,
        (scratch, places): (&Scratch, &PlacesOfPass),
        d_x: &Tensor,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let own = self.weights.inputs.as_ref();
        let Some((own, saved)) = own.zip(places.before.as_ref()) else {
            return Ok(());
        };
        let first = self.first_layer(pass, scratch);
        Ok(first.inputs_backward(own, d_x, (saved, gradients))?)
    }

    fn first_layer<'p>(&'p self, pass: &'p Pass<'p>, scratch: &'p Scratch) -> LayerPass<'p> {
        LayerPass {
            pass,
            index: 0,
            layer: &self.weights.layers[0],
            scratch,
        }
    }
}
