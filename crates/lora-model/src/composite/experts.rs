//! A mixture of experts in the graph: each expert computes the tokens that chose it, and what they give is added where the
//! tokens are.
use super::graph::{Graph, sigmoid};
use super::mlp::activate;
use crate::spec;
use candle_core::{D, Result, Tensor};
use lora_checkpoint::{Activation, Clamp, Experts, Projection, Scores};

/// The tokens that chose each expert.
type Chosen = Vec<Vec<u32>>;

impl Graph<'_> {
    /// Σ wₑ · downₑ(activation(gateₑ(x)) · upₑ(x)) over the chosen experts, (T, H).
    pub(super) fn mixture(
        &self,
        x: &Tensor,
        layer: usize,
        (experts, activation): (Experts, Activation),
    ) -> Result<Tensor> {
        let path = |of_experts: String| format!("model.layers.{layer}.{of_experts}.weight");
        let with_bias = |y: Tensor, of_experts: &str| {
            let name = format!("model.layers.{layer}.{of_experts}.bias");
            match self.config.facts().experts.is_some_and(|own| own.biased) {
                true => y.broadcast_add(self.weight(&name)?),
                false => Ok(y),
            }
        };
        let Some(names) = self.config.facts().experts else {
            return Err(candle_core::Error::Msg("a family without experts".into()));
        };
        let logits = self.of_mixture(x, &path(names.router.to_owned()))?; // (T, E)
        let logits = with_bias(logits, names.router)?;
        let probabilities = match experts.scores {
            Scores::Softmax => {
                let largest = logits.detach().max_keepdim(D::Minus1)?;
                let exps = logits.broadcast_sub(&largest)?.exp()?;
                exps.broadcast_div(&exps.sum_keepdim(D::Minus1)?)?
            }
            Scores::Sigmoid => sigmoid(&logits)?,
        };
        let biased = match self.config.choice_bias(layer) {
            Some(name) => probabilities.detach().broadcast_add(self.weight(&name)?)?,
            None => probabilities.detach(),
        };
        let (chosen, mask) = choose(&biased, experts)?;
        self.route(&probabilities, &mask);
        let weights = match experts.normalised {
            true => {
                let sum = (&probabilities * mask)?.sum_keepdim(D::Minus1)?;
                let sum = match experts.scores {
                    Scores::Softmax => sum,
                    Scores::Sigmoid => (sum + 1e-6)?, // as in transformers' Lfm2MoeTopKRouter
                };
                probabilities.broadcast_div(&sum)?
            }
            false => probabilities,
        };
        let weights = (weights * experts.scale)?;
        let mut y = x.zeros_like()?;
        for (expert, tokens) in chosen.into_iter().enumerate() {
            if tokens.is_empty() {
                continue;
            }
            let count = tokens.len();
            let tokens = Tensor::from_vec(tokens, count, x.device())?;
            let own = x.index_select(&tokens, 0)?; // (n, H)
            let linear = |x: &Tensor, projection| {
                let own = names.of(expert, projection);
                with_bias(self.of_mixture(x, &path(own.clone()))?, &own)
            };
            let gate = linear(&own, Projection::Gate)?;
            let up = linear(&own, Projection::Up)?;
            let inner = match experts.clamp {
                Some(clamp) => clamped(&gate, &up, clamp)?,
                None => (activate(&gate, activation)? * up)?,
            };
            let out = linear(&inner, Projection::Down)?;
            let weight = weights.narrow(1, expert, 1)?.contiguous()?;
            let weight = weight.index_select(&tokens, 0)?; // (n, 1)
            y = y.index_add(&tokens, &out.broadcast_mul(&weight)?, 0)?;
        }
        Ok(y)
    }
}

impl Graph<'_> {
    /// x·Wᵀ of a router or an expert, with what an adapter adds.
    fn of_mixture(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let weight = self.weight(name)?;
        let plain = x.matmul(&weight.t()?)?;
        let (Some(patches), Some(part)) = (self.patches, spec::part_of(self.config, name)) else {
            return Ok(plain);
        };
        if let Some(patched) = patches.linear(&part.path, x, weight)? {
            return Ok(patched);
        }
        match patches.expert((&part.path, part.expert), part.rows, x)? {
            Some(delta) => plain + delta,
            None => Ok(plain),
        }
    }
}

/// (u + 1)·g·σ(α·g), with g the gate, at most the limit, and u up, within it on both sides.
fn clamped(gate: &Tensor, up: &Tensor, clamp: Clamp) -> Result<Tensor> {
    let gate = gate.minimum(clamp.limit)?;
    let up = up.minimum(clamp.limit)?.maximum(-clamp.limit)?;
    let glu = (&gate * sigmoid(&(&gate * clamp.alpha)?)?)?;
    (up + 1.0)? * glu
}

/// The tokens of each expert, and 1 where a token chose an expert, (T, E): the largest, of equals the first.
fn choose(probabilities: &Tensor, experts: Experts) -> Result<(Chosen, Tensor)> {
    let rows = probabilities.detach().to_vec2::<f32>()?;
    let mut chosen: Chosen = vec![Vec::new(); experts.count];
    let mut mask = vec![0f32; rows.len() * experts.count];
    for (token, row) in rows.iter().enumerate() {
        let mut order: Vec<usize> = (0..experts.count).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        for &expert in &order[..experts.chosen] {
            chosen[expert].push(token as u32);
            mask[token * experts.count + expert] = 1.0;
        }
    }
    let mask = Tensor::from_vec(mask, (rows.len(), experts.count), probabilities.device())?;
    Ok((chosen, mask))
}
