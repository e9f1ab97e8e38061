//! A layer of Gated DeltaNet in the graph: the recurrence as it is written down, token by token, all sequences of one length
//! and all heads at once.
use super::graph::{Graph, Run, sigmoid};
use super::short_conv::convolve;
use candle_core::{D, Error, Result, Tensor};
use lora_checkpoint::{DeltaPart, DeltaShape, Projection};

/// Added to a squared length.
const EPS: f64 = 1e-6;

/// What the rule reads of the rows of a pack.
struct Inputs {
    /// Queries, keys and values side by side, (T, columns).
    qkv: Tensor,
    /// The logarithm of the decay, and β, (T, value heads).
    decay: Tensor,
    beta: Tensor,
}

impl Graph<'_> {
    /// Output of a recurrent layer, (T, H) -> (T, H).
    pub(super) fn delta(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let Some(shape) = self.config.delta else {
            return Err(Error::Msg("a recurrent layer without heads".into()));
        };
        let project = |projection| self.projection(x, layer, projection, &mut None);
        let own = |part: DeltaPart| self.weight(&format!("model.layers.{layer}.{}", part.path()));
        let a = project(Projection::DeltaA)?.broadcast_add(own(DeltaPart::StepBias)?)?;
        let rate = own(DeltaPart::DecayLog)?.exp()?.neg()?;
        let inputs = Inputs {
            qkv: project(Projection::DeltaQkv)?,
            decay: softplus(&a)?.broadcast_mul(&rate)?,
            beta: sigmoid(&project(Projection::DeltaB)?)?,
        };
        let taps = own(DeltaPart::Convolution)?.reshape((shape.columns(), shape.taps))?;
        let mut outputs = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            outputs.push(rule(shape, run, &inputs, &taps)?);
        }
        let output = Tensor::cat(&outputs, 0)?; // (T, value heads, width)
        let mean_square = output.sqr()?.mean_keepdim(D::Minus1)?;
        let inverse = (mean_square + self.config.norm_eps)?.sqrt()?.recip()?;
        let normed = output.broadcast_mul(&inverse)?;
        let normed = normed.broadcast_mul(own(DeltaPart::Norm)?)?;
        let normed = normed.reshape(((), shape.values()))?;
        let gated = (normed * project(Projection::DeltaZ)?.silu()?)?;
        self.projection(&gated, layer, Projection::DeltaOut, &mut None)
    }
}

/// log(1 + eˣ), as max(x, 0) + log(1 + e^−|x|).
pub(super) fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// What the rule gives for a run of equally long sequences, (B·length, value heads, width).
fn rule(shape: DeltaShape, run: &Run, inputs: &Inputs, taps: &Tensor) -> Result<Tensor> {
    let (batch, length) = (run.sequences, run.length);
    let rows = |x: &Tensor| {
        let all = x.narrow(0, run.row, batch * length)?;
        all.reshape((batch, length, ()))
    };
    let mixed = convolve(&rows(&inputs.qkv)?, taps)?.silu()?;
    let (keys, heads) = (shape.keys(), shape.key_heads);
    let group = shape.value_heads / heads;
    // Each key head serves neighbouring value heads.
    let of_keys = |from: usize| {
        let own = mixed.narrow(2, from, keys)?;
        let own = own.reshape((batch, length, heads, 1, shape.key_dim))?;
        let length_of = (own.sqr()?.sum_keepdim(D::Minus1)? + EPS)?.sqrt()?;
        let own = own.broadcast_div(&length_of)?;
        own.broadcast_as((batch, length, heads, group, shape.key_dim))?
            .reshape((batch, length, shape.value_heads, shape.key_dim))
    };
    let q = (of_keys(0)? / (shape.key_dim as f64).sqrt())?;
    let k = of_keys(keys)?;
    let v = mixed.narrow(2, 2 * keys, shape.values())?;
    let v = v.reshape((batch, length, shape.value_heads, shape.value_dim))?;
    let (decay, beta) = (rows(&inputs.decay)?.exp()?, rows(&inputs.beta)?);
    let at = |x: &Tensor, t: usize| x.narrow(1, t, 1)?.squeeze(1);
    let mut state: Option<Tensor> = None; // (B, value heads, key width, value width)
    let mut outputs = Vec::with_capacity(length);
    for t in 0..length {
        let key = at(&k, t)?.unsqueeze(3)?; // (B, heads, d, 1)
        let mut written = at(&v, t)?; // (B, heads, n)
        let faded = match &state {
            None => None,
            Some(state) => {
                let decay = at(&decay, t)?.unsqueeze(2)?.unsqueeze(3)?;
                let faded = state.broadcast_mul(&decay)?;
                written = (written - faded.broadcast_mul(&key)?.sum(2)?)?;
                Some(faded)
            }
        };
        let written = written.broadcast_mul(&at(&beta, t)?.unsqueeze(2)?)?;
        let new = key.broadcast_mul(&written.unsqueeze(2)?)?;
        let now = match faded {
            None => new,
            Some(faded) => (faded + new)?,
        };
        let query = at(&q, t)?.unsqueeze(3)?;
        outputs.push(now.broadcast_mul(&query)?.sum(2)?);
        state = Some(now);
    }
    let output = Tensor::stack(&outputs, 1)?; // (B, length, value heads, n)
    output.reshape((batch * length, shape.value_heads, shape.value_dim))
}
