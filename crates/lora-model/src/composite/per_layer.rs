//! Inputs of each layer in the graph, the norm of values, and the number that a layer's output is multiplied by.
use super::graph::Graph;
use super::mlp::activate;
use candle_core::{D, Error, Result, Tensor};
use lora_checkpoint::{Mlp, Norm, Projection};

impl Graph<'_> {
    /// The inputs of all layers, of the embedding x, (T, H) -> (T, L, P); None in a model without.
    pub(super) fn layer_inputs(&self, ids: &Tensor, x: &Tensor) -> Result<Option<Tensor>> {
        let (Some(own), Some((table, _))) =
            (self.config.per_layer(), self.config.per_layer_table())
        else {
            return Ok(None);
        };
        let split = |all: Tensor| all.reshape(((), self.config.num_hidden_layers, own.width));
        let projected = self.linear(x, &self.config.path(Projection::PerLayerModel, 0))?;
        let projected = (projected / (self.config.hidden_size as f64).sqrt())?;
        let normed = self.norm(&split(projected)?, 0, Norm::PerLayerInput)?;
        let looked_up = split(self.weight(&table)?.index_select(ids, 0)?)?;
        let sum = (normed + (looked_up * (own.width as f64).sqrt())?)?;
        (sum / 2f64.sqrt()).map(Some)
    }

    /// x + norm(V·(activation(G·x)∘e_l)), with the layer's input e_l if there is one, times the layer's number, (T, H).
    pub(super) fn with_own_input(
        &self,
        mut x: Tensor,
        layer: usize,
        inputs: Option<&Tensor>,
    ) -> Result<Tensor> {
        if let Some(inputs) = inputs {
            let Mlp::Gated(activation) = self.config.facts().mlp else {
                return Err(Error::Msg(
                    "inputs of layers beside an MLP without a gate".into(),
                ));
            };
            let own = inputs.narrow(1, layer, 1)?.squeeze(1)?;
            let gate = self.projection(&x, layer, Projection::PerLayerGate, &mut None)?;
            let gated = (activate(&gate, activation)? * own)?;
            let output = self.projection(&gated, layer, Projection::PerLayerOut, &mut None)?;
            x = (x + self.norm(&output, layer, Norm::PerLayerOutput)?)?;
        }
        match self.config.output_scale(layer) {
            Some(name) => x.broadcast_mul(self.weight(&name)?),
            None => Ok(x),
        }
    }

    /// Heads of values, x/√(mean(x²) + ε) where the family normalises them.
    pub(super) fn values(&self, x: Tensor) -> Result<Tensor> {
        if !self.config.facts().normalised_values {
            return Ok(x);
        }
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        x.broadcast_mul(&(mean_square + self.config.norm_eps)?.sqrt()?.recip()?)
    }
}
