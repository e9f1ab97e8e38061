//! A layer of Mamba-2 in the graph: the recurrence as it is written down, token by token, all sequences of one length and all
//! heads at once.
use super::delta::softplus;
use super::graph::{Graph, Run};
use super::short_conv::convolve;
use candle_core::{D, Error, Result, Tensor};
use lora_checkpoint::{MambaNorm, MambaPart, MambaShape, Projection};

/// What the rule reads of the rows of a pack, and what it has learned.
struct Inputs {
    /// x, B and C side by side, (T, columns).
    read: Tensor,
    /// Steps, and the logarithm of the decay, (T, heads).
    step: Tensor,
    decay: Tensor,
    /// (columns, taps), and (columns).
    taps: Tensor,
    bias: Option<Tensor>,
    /// (heads, 1).
    skip: Tensor,
}

impl Graph<'_> {
    /// Output of a layer of Mamba-2, (T, H) -> (T, H).
    pub(super) fn mamba(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let Some(shape) = self.config.mamba else {
            return Err(Error::Msg("a layer of Mamba-2 without heads".into()));
        };
        let own = |part: MambaPart| self.weight(&format!("model.layers.{layer}.{}", part.path()));
        let mut last = None;
        let mut project = |projection| self.projection(x, layer, projection, &mut last);
        let z = project(Projection::MambaZ)?;
        let read = project(Projection::MambaXbc)?;
        let dt = project(Projection::MambaDt)?;
        let step = softplus(&dt.broadcast_add(own(MambaPart::StepBias)?)?)?;
        let step = match shape.limits {
            [0.0, most] if most.is_infinite() => step,
            [least, most] => step.clamp(least, most)?,
        };
        let rate = own(MambaPart::DecayLog)?.exp()?.neg()?;
        let inputs = Inputs {
            read,
            decay: step.broadcast_mul(&rate)?,
            step,
            taps: own(MambaPart::Convolution)?.reshape((shape.columns(), shape.taps))?,
            bias: match shape.conv_bias {
                true => Some(own(MambaPart::ConvolutionBias)?.clone()),
                false => None,
            },
            skip: own(MambaPart::Skip)?.reshape((shape.heads, 1))?,
        };
        let mut outputs = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            outputs.push(rule(shape, run, &inputs)?);
        }
        let y = Tensor::cat(&outputs, 0)?; // (T, heads·width)
        let gate = z.silu()?;
        let norm = |x: &Tensor| self.norm_of_groups(x, shape, own(MambaPart::Norm)?);
        let gated = match shape.norm {
            MambaNorm::Without => (y * gate)?,
            MambaNorm::BehindGate => norm(&(y * gate)?)?,
            MambaNorm::BeforeGate => (norm(&y)? * gate)?,
        };
        self.projection(&gated, layer, Projection::MambaOut, &mut None)
    }

    /// RMSNorm of each group, (T, heads·width).
    fn norm_of_groups(&self, x: &Tensor, shape: MambaShape, gamma: &Tensor) -> Result<Tensor> {
        let groups = x.reshape(((), shape.groups, shape.values() / shape.groups))?;
        let mean_square = groups.sqr()?.mean_keepdim(D::Minus1)?;
        let inverse = (mean_square + self.config.norm_eps)?.sqrt()?.recip()?;
        let normed = groups.broadcast_mul(&inverse)?;
        normed.reshape(((), shape.values()))?.broadcast_mul(gamma)
    }
}

/// What the rule gives for a run of equally long sequences, (B·length, heads·width).
fn rule(shape: MambaShape, run: &Run, inputs: &Inputs) -> Result<Tensor> {
    let (batch, length) = (run.sequences, run.length);
    let rows = |x: &Tensor| {
        let all = x.narrow(0, run.row, batch * length)?;
        all.reshape((batch, length, ()))
    };
    let mut sum = convolve(&rows(&inputs.read)?, &inputs.taps)?;
    if let Some(bias) = &inputs.bias {
        sum = sum.broadcast_add(bias)?;
    }
    let mixed = sum.silu()?;
    let (heads, width, state) = (shape.heads, shape.width, shape.state);
    let x = mixed.narrow(2, 0, shape.values())?;
    let x = x.reshape((batch, length, heads, width))?;
    // Each group serves neighbouring heads.
    let of_group = |from: usize| {
        let own = mixed.narrow(2, from, shape.groups * state)?;
        let own = own.reshape((batch, length, shape.groups, 1, state))?;
        own.broadcast_as((batch, length, shape.groups, heads / shape.groups, state))?
            .reshape((batch, length, heads, state))
    };
    let b = of_group(shape.values())?;
    let c = of_group(shape.values() + shape.groups * state)?;
    let (decay, step) = (rows(&inputs.decay)?.exp()?, rows(&inputs.step)?);
    let at = |x: &Tensor, t: usize| x.narrow(1, t, 1)?.squeeze(1);
    let mut known: Option<Tensor> = None; // (B, heads, state's width, width)
    let mut outputs = Vec::with_capacity(length);
    for t in 0..length {
        let own = at(&x, t)?; // (B, heads, width)
        let written = own.broadcast_mul(&at(&step, t)?.unsqueeze(2)?)?;
        let new = at(&b, t)?
            .unsqueeze(3)?
            .broadcast_mul(&written.unsqueeze(2)?)?;
        let now = match &known {
            None => new,
            Some(known) => {
                let decay = at(&decay, t)?.unsqueeze(2)?.unsqueeze(3)?;
                (known.broadcast_mul(&decay)? + new)?
            }
        };
        let found = now.broadcast_mul(&at(&c, t)?.unsqueeze(3)?)?.sum(2)?;
        outputs.push((found + own.broadcast_mul(&inputs.skip)?)?);
        known = Some(now);
    }
    Tensor::stack(&outputs, 1)?.reshape((batch * length, shape.values()))
}
