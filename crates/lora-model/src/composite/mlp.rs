//! The MLP of a layer in the graph.
use super::graph::Graph;
use candle_core::{Result, Tensor};
use lora_checkpoint::{Activation, Mlp, Projection, XIELU_BETA, XIELU_EPS, XieluNumber};

impl Graph<'_> {
    /// What a layer's MLP gives, its experts, or both together, (T, H).
    pub(super) fn mlp(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let (Some(experts), Mlp::Gated(activation)) =
            (self.config.experts_of(layer), self.config.facts().mlp)
        else {
            return self.one_mlp(x, layer);
        };
        let of_experts = self.mixture(x, layer, (experts, activation))?;
        match self.config.has_mlp(layer) {
            true => of_experts + self.one_mlp(x, layer)?,
            false => Ok(of_experts),
        }
    }

    /// down(activation(gate(x)) · up(x)), or without a gate down(activation(up(x))), (T, H).
    fn one_mlp(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let mut last = None;
        let activated = match self.config.facts().mlp {
            Mlp::Gated(activation) => {
                let gate = self.projection(x, layer, Projection::Gate, &mut last)?;
                let gate = activate(&gate, activation)?;
                (gate * self.projection(x, layer, Projection::Up, &mut last)?)?
            }
            Mlp::Plain(activation) => {
                let up = self.projection(x, layer, Projection::Up, &mut last)?;
                activate(&up, activation)?
            }
            Mlp::Xielu => {
                let up = self.projection(x, layer, Projection::Up, &mut last)?;
                self.xielu(&up, layer)?
            }
        };
        self.projection(&activated, layer, Projection::Down, &mut None)
    }

    /// α_p·x² + β·x above 0, α_n·(exp(min(x, ε)) − 1 − x) + β·x elsewhere.
    fn xielu(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let softplus = |number: XieluNumber| {
            let learned = self.weight(&format!("model.layers.{layer}.{}", number.path()))?;
            (learned.exp()? + 1.0)?.log()
        };
        let alpha_p = softplus(XieluNumber::AlphaP)?;
        let alpha_n = (softplus(XieluNumber::AlphaN)? + f64::from(XIELU_BETA))?;
        let above = x.sqr()?.broadcast_mul(&alpha_p)?;
        let below = ((x.minimum(f64::from(XIELU_EPS))?.exp()? - 1.0)? - x)?;
        let below = below.broadcast_mul(&alpha_n)?;
        x.gt(0.0)?.where_cond(&above, &below)? + (x * f64::from(XIELU_BETA))?
    }
}

pub(super) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::GeluTanh => x.gelu(), // candle's gelu is the tanh formula
    }
}
