//! How a router chooses: what it makes of its logits, and the weights of the chosen.
use crate::vector;
use rayon::prelude::*;

/// How a router chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// E.
    pub experts: usize,
    /// k, at most E.
    pub chosen: usize,
    /// What the router makes of its logits.
    pub scores: Scores,
    /// Whether the weights of the chosen are divided by their sum.
    pub normalised: bool,
    /// What the weights are multiplied by.
    pub scale: f32,
}

impl Choice {
    /// The softmax, whose parts are the weights, or their shares of those of the chosen.
    #[must_use]
    pub const fn of_softmax(experts: usize, chosen: usize, normalised: bool) -> Self {
        Self {
            experts,
            chosen,
            scores: Scores::Softmax,
            normalised,
            scale: 1.0,
        }
    }

    /// A token's weights, from what the router made of the chosen experts' logits.
    pub(super) fn weigh(self, weights: &mut [f32]) {
        if self.normalised {
            let eps = match self.scores {
                Scores::Softmax => 0.0,
                Scores::Sigmoid => EPS,
            };
            let sum = weights.iter().sum::<f32>() + eps;
            weights.iter_mut().for_each(|w| *w /= sum);
        }
        if self.scale != 1.0 {
            weights.iter_mut().for_each(|w| *w *= self.scale);
        }
    }
}

/// What a router makes of its logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// exp(x) / Σ exp(x).
    Softmax,
    /// 1 / (1 + exp(−x)), each for itself.
    Sigmoid,
}

/// What is added to the sum of sigmoids before weights are divided by it, as in transformers (`Lfm2MoeTopKRouter`).
const EPS: f32 = 1e-6;

/// What a router makes of its `logits` (T, E), in their place.
pub fn score(logits: &mut [f32], choice: Choice) {
    match choice.scores {
        Scores::Softmax => softmax(logits, choice.experts),
        Scores::Sigmoid => logits
            .par_chunks_mut(choice.experts.max(1))
            .for_each(|row| {
                row.iter_mut()
                    .for_each(|x| *x = 1.0 / (1.0 + vector::exp(-*x)))
            }),
    }
}

/// The softmax of each row of `logits` (T, E), in its place.
fn softmax(logits: &mut [f32], experts: usize) {
    logits.par_chunks_mut(experts.max(1)).for_each(|row| {
        let largest = vector::max(row);
        row.iter_mut().for_each(|x| *x = vector::exp(*x - largest));
        let sum = vector::sum(row);
        row.iter_mut().for_each(|x| *x /= sum);
    });
}
