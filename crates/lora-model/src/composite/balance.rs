//! The loss for the balance of a mixture's experts in the graph, as transformers' `load_balancing_loss_func` writes it.
use candle_core::{Error, Result, Tensor};

/// What a layer's router has made of the tokens.
#[derive(Debug)]
pub(super) struct Routed {
    /// The softmax of its logits, (T, E).
    pub(super) probabilities: Tensor,
    /// 1 where a token chose an expert, (T, E).
    pub(super) chosen: Tensor,
}

/// Counts over layers, and the sums of probabilities that can be differentiated.
pub(super) struct Sums {
    /// Times that each expert was chosen, (E).
    pub(super) choices: Tensor,
    /// Sum of each expert's probabilities, (E).
    pub(super) probabilities: Tensor,
    /// Tokens, counted once in each layer.
    pub(super) tokens: usize,
}

impl Sums {
    /// Of all layers.
    pub(super) fn of(layers: &[Routed]) -> Result<Self> {
        let sum = |pick: fn(&Routed) -> &Tensor| {
            let each = layers.iter().map(|layer| pick(layer).sum(0));
            let sum = each.reduce(|a, b| a? + b?);
            sum.unwrap_or_else(|| Err(Error::Msg("no layer has experts".into())))
        };
        let mut tokens = 0;
        for layer in layers {
            tokens += layer.chosen.dim(0)?;
        }
        Ok(Self {
            choices: sum(|layer| &layer.chosen)?,
            probabilities: sum(|layer| &layer.probabilities)?,
            tokens,
        })
    }

    /// E · Σₑ fₑ·Pₑ, a scalar; f from `choices` of so many `tokens`, of which these may be a part.
    pub(super) fn loss(&self, choices: &Tensor, tokens: usize) -> Result<Tensor> {
        let tokens = tokens as f64;
        let shares = (choices / tokens)?;
        let means = (&self.probabilities / tokens)?;
        (shares * means)?.sum_all()? * choices.dim(0)? as f64
    }
}

/// Where the tokens of several packs go.
#[derive(Debug)]
pub(super) struct Counted {
    /// Times that each expert was chosen, (E).
    choices: Vec<f32>,
    /// Tokens, counted once in each layer.
    tokens: usize,
}

impl Counted {
    /// Those of one pack.
    pub(super) fn of(sums: &Sums) -> Result<Self> {
        Ok(Self {
            choices: sums.choices.to_vec1()?,
            tokens: sums.tokens,
        })
    }

    /// Those of all of them.
    pub(super) fn sum(packs: Vec<Self>) -> Option<Self> {
        packs.into_iter().reduce(|mut all, pack| {
            let both = all.choices.iter_mut().zip(pack.choices);
            both.for_each(|(all, own)| *all += own);
            all.tokens += pack.tokens;
            all
        })
    }

    /// One pack's part of the loss of all.
    pub(super) fn part(&self, sums: &Sums) -> Result<Tensor> {
        let choices = Tensor::from_slice(&self.choices, self.choices.len(), sums.choices.device())?;
        sums.loss(&choices, self.tokens)
    }
}
