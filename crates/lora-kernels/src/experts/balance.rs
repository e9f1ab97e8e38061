//! The loss for the balance of experts (Fedus et al. 2021, "Switch Transformers", equations 4 to 6), as transformers'
//! `load_balancing_loss_func` has it: over the tokens of all layers together, E · Σₑ fₑ·Pₑ. fₑ is how often a token chose expert
//! e (so that Σ fₑ = k) and has no gradient, Pₑ the mean of its probability.
use super::{Choice, Routing};
use rayon::prelude::*;

/// What tokens chose, and the probabilities of their routers, added up over layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Balance {
    /// Times that each expert was chosen, (E).
    choices: Vec<f64>,
    /// Sum of each expert's probabilities, (E).
    probabilities: Vec<f64>,
    /// Tokens, counted once in each layer.
    tokens: f64,
}

impl Balance {
    /// Of no tokens yet, on so many experts.
    #[must_use]
    pub fn new(experts: usize) -> Self {
        Self {
            choices: vec![0.0; experts],
            probabilities: vec![0.0; experts],
            tokens: 0.0,
        }
    }

    /// Counts the tokens of a layer: the softmax of its router, (T, E), and where they went. A token counts `times` (T) over.
    ///
    /// # Panics
    /// If the lengths are not those of the choice.
    pub fn count(
        &mut self,
        probabilities: &[f32],
        routing: &Routing,
        choice: Choice,
        times: &[u32],
    ) {
        let rows = probabilities.chunks_exact(choice.experts);
        assert_eq!(
            (self.choices.len(), rows.len(), routing.tokens()),
            (choice.experts, times.len(), times.len()),
            "tokens of a router"
        );
        let chosen = routing.experts().chunks_exact(choice.chosen);
        for ((row, chosen), &times) in rows.zip(chosen).zip(times) {
            let times = f64::from(times);
            for (sum, &p) in self.probabilities.iter_mut().zip(row) {
                *sum += times * f64::from(p);
            }
            for &expert in chosen {
                self.choices[expert as usize] += times;
            }
            self.tokens += times;
        }
    }

    /// The loss; 0 of no tokens.
    #[must_use]
    pub fn loss(&self) -> f64 {
        let each = self.choices.iter().zip(&self.probabilities);
        let sum: f64 = each.map(|(choices, p)| choices * p).sum();
        self.choices.len() as f64 * sum / (self.tokens * self.tokens).max(1.0)
    }

    /// `weight` times the gradient of the loss by the probability of each expert at one token, (E): the same at all tokens.
    #[must_use]
    pub fn slopes(&self, weight: f64) -> Vec<f32> {
        let factor = weight * self.choices.len() as f64 / (self.tokens * self.tokens).max(1.0);
        let slopes = self.choices.iter();
        slopes.map(|choices| (factor * choices) as f32).collect()
    }
}

/// Adds to the gradient of a router's logits, (T, E), what comes back through their softmax, `probabilities`, from `slopes`
/// (E): times·p∘(c − Σ c·p).
///
/// # Panics
/// If the lengths differ.
pub fn add_balance_gradients(
    probabilities: &[f32],
    slopes: &[f32],
    times: &[u32],
    d_logits: &mut [f32],
) {
    let experts = slopes.len();
    assert_eq!(
        (probabilities.len(), d_logits.len()),
        (experts * times.len(), experts * times.len()),
        "gradient of a balance"
    );
    let rows = d_logits
        .par_chunks_mut(experts)
        .zip(probabilities.par_chunks(experts));
    rows.zip(times).for_each(|((d, row), &times)| {
        let mean: f32 = row.iter().zip(slopes).map(|(p, c)| p * c).sum();
        for ((d, p), c) in d.iter_mut().zip(row).zip(slopes) {
            *d += times as f32 * p * (c - mean);
        }
    });
}
