//! Which tokens each expert has: the choice, and the order of rows by expert.
use super::choice::{Choice, Scores};
use crate::memory::grow;
use rayon::prelude::*;
use std::ops::Range;

/// The choice for each token, and its rows sorted by expert: those of the first expert that has some, then those of the
/// next, each expert's in the order of the tokens. A token's k choices are its slots, t·k + i.
#[derive(Debug, Default)]
pub struct Routing {
    /// k.
    chosen: usize,
    tokens: usize,
    /// The expert of each slot; those of a token by falling weight.
    experts: Vec<u32>,
    /// The weight of each slot.
    weights: Vec<f32>,
    /// The row of each slot, and the slot of each row.
    rows: Vec<u32>,
    slots: Vec<u32>,
    /// Where the rows of each expert begin, and the end of the last.
    starts: Vec<u32>,
}

/// Tokens that a thread takes at once.
const TOKENS: usize = 32;

impl Routing {
    /// Chooses for each row of `probabilities` (T, E) those that are largest, of equals the first; with `biases` (E) those that
    /// are largest with these added, which count for nothing else (Wang et al. 2024).
    ///
    /// # Panics
    /// If more are chosen than there are, biases are of other experts, or rows are too many to be numbered.
    pub fn choose(&mut self, probabilities: &[f32], choice: Choice, biases: Option<&[f32]>) {
        self.place(probabilities, choice, How::Largest(biases));
    }

    /// As [`Self::choose`], but with the experts (T, k) that are given: only their weights are of `probabilities`.
    ///
    /// # Panics
    /// As [`Self::choose`], and if there are not k experts a token, each of them below E.
    pub fn follow(&mut self, probabilities: &[f32], choice: Choice, experts: &[u32]) {
        self.place(probabilities, choice, How::Given(experts));
    }

    /// The experts of each token, (T, k); where it chose them itself, by falling weight.
    #[must_use]
    pub fn experts(&self) -> &[u32] {
        &self.experts[..self.len()]
    }

    fn place(&mut self, probabilities: &[f32], choice: Choice, how: How<'_>) {
        let Choice {
            experts, chosen, ..
        } = choice;
        assert!(
            (1..=experts).contains(&chosen),
            "{chosen} of {experts} experts"
        );
        if let How::Largest(Some(biases)) = how {
            assert_eq!(biases.len(), experts, "biases of a choice");
        }
        let tokens = probabilities.len() / experts;
        let slots = tokens * chosen;
        assert!(u32::try_from(slots).is_ok(), "{slots} rows");
        (self.chosen, self.tokens) = (chosen, tokens);
        grow(&mut self.experts, slots);
        grow(&mut self.weights, slots);
        if let How::Given(given) = how {
            let are_some = given.iter().all(|&expert| (expert as usize) < experts);
            assert!(are_some && given.len() == slots, "experts of other tokens");
            self.experts[..slots].copy_from_slice(given);
        }
        let of_tokens = self.experts[..slots]
            .par_chunks_mut(TOKENS * chosen)
            .zip(self.weights[..slots].par_chunks_mut(TOKENS * chosen))
            .zip(probabilities.par_chunks(TOKENS * experts));
        of_tokens.for_each(|((own, weights), probabilities)| {
            let each = own
                .chunks_exact_mut(chosen)
                .zip(weights.chunks_exact_mut(chosen));
            for ((own, weights), row) in each.zip(probabilities.chunks_exact(experts)) {
                if let How::Largest(biases) = how {
                    largest(row, biases, own);
                }
                let values = own.iter().map(|&expert| row[expert as usize]);
                weights.iter_mut().zip(values).for_each(|(w, p)| *w = p);
                choice.weigh(weights);
            }
        });
        self.sort(experts);
    }

    /// Rows by expert, in one pass over the slots.
    fn sort(&mut self, experts: usize) {
        let slots = self.len();
        self.starts.clear();
        self.starts.resize(experts + 1, 0);
        grow(&mut self.rows, slots);
        grow(&mut self.slots, slots);
        for &expert in &self.experts[..slots] {
            self.starts[expert as usize + 1] += 1;
        }
        for expert in 0..experts {
            self.starts[expert + 1] += self.starts[expert];
        }
        for (slot, &expert) in self.experts[..slots].iter().enumerate() {
            let next = &mut self.starts[expert as usize];
            self.rows[slot] = *next;
            self.slots[*next as usize] = slot as u32;
            *next += 1;
        }
        // Each start has moved on to that of the next.
        self.starts.copy_within(..experts, 1);
        self.starts[0] = 0;
    }

    /// Rows, T·k.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens * self.chosen
    }

    /// True if there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// T.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Experts that have rows, and which.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        let bounds = self.starts.windows(2).enumerate();
        bounds
            .map(|(expert, bounds)| (expert, bounds[0] as usize..bounds[1] as usize))
            .filter(|(_, rows)| !rows.is_empty())
    }

    /// The token of each row, (T·k).
    pub fn tokens_of_rows(&self) -> impl Iterator<Item = u32> + '_ {
        let slots = self.slots[..self.len()].iter();
        slots.map(|&slot| slot / self.chosen as u32)
    }

    /// The weight of each row, (T·k).
    pub fn weights_of_rows(&self) -> impl Iterator<Item = f32> + '_ {
        (0..self.len()).map(|row| self.of_row(row).1)
    }

    /// The row of each slot, (T·k).
    #[must_use]
    pub fn rows_of_slots(&self) -> &[u32] {
        &self.rows[..self.len()]
    }

    /// The token and the weight of a row.
    pub(super) fn of_row(&self, row: usize) -> (usize, f32) {
        let slot = self.slots[row] as usize;
        (slot / self.chosen, self.weights[slot])
    }

    /// The rows of a token, and the weight of each, by falling weight.
    pub(super) fn of_token(&self, token: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let slots = token * self.chosen..(token + 1) * self.chosen;
        let rows = self.rows[slots.clone()].iter().map(|&row| row as usize);
        rows.zip(self.weights[slots].iter().copied())
    }

    /// The gradient of the logits (T, E), from that of each row's weight and what the router made of them: with w the weights and
    /// s what they are multiplied by d_j = w_j·(dw_j − Σ wᵢ·dwᵢ/s), where the softmax is that of the chosen if they are normalised,
    /// else that of all; of sigmoids p the same times 1 − p_j, without the sum where they are not normalised.
    ///
    /// # Panics
    /// If the lengths are not those of the choice.
    pub fn logit_gradients(
        &self,
        probabilities: &[f32],
        d_weights: &[f32],
        choice: Choice,
        d_logits: &mut [f32],
    ) {
        assert_eq!(
            (probabilities.len(), d_weights.len(), d_logits.len()),
            (
                self.tokens * choice.experts,
                self.len(),
                probabilities.len()
            ),
            "gradient of a router"
        );
        let experts = choice.experts;
        let rows = d_logits
            .par_chunks_mut(experts)
            .zip(probabilities.par_chunks(experts));
        rows.enumerate().for_each(|(token, (d, probabilities))| {
            let own = || self.of_token(token).map(|(row, w)| (d_weights[row], w));
            let mean: f32 = own().map(|(dw, w)| w * dw).sum();
            match (choice.scores, choice.normalised) {
                (Scores::Softmax, false) => d
                    .iter_mut()
                    .zip(probabilities)
                    .for_each(|(d, p)| *d = -p * mean),
                _ => d.fill(0.0),
            }
            let slots = token * self.chosen..(token + 1) * self.chosen;
            for (&expert, (dw, w)) in self.experts[slots].iter().zip(own()) {
                let own = match choice.normalised {
                    true => w * (dw - mean / choice.scale),
                    false => w * dw,
                };
                d[expert as usize] += match choice.scores {
                    Scores::Softmax => own,
                    Scores::Sigmoid => own * (1.0 - probabilities[expert as usize]),
                };
            }
        });
    }

    /// Values held.
    #[must_use]
    pub fn values(&self) -> usize {
        let numbers = [&self.experts, &self.rows, &self.slots, &self.starts];
        self.weights.len() + numbers.map(Vec::len).iter().sum::<usize>()
    }
}

/// How the experts of a token are found.
#[derive(Clone, Copy)]
enum How<'a> {
    /// The largest, with biases added.
    Largest(Option<&'a [f32]>),
    /// They are known.
    Given(&'a [u32]),
}

/// The places of the largest values of a row, biases added, the largest first, of equals the first; NaN counts as larger than all.
fn largest(row: &[f32], biases: Option<&[f32]>, places: &mut [u32]) {
    for i in 0..places.len() {
        let (taken, place) = places.split_at_mut(i);
        let mut best: Option<(usize, f32)> = None;
        for (expert, &value) in row.iter().enumerate() {
            let value = value + biases.map_or(0.0, |biases| biases[expert]);
            let is_better = best.is_none_or(|(_, found)| value.total_cmp(&found).is_gt());
            if is_better && !taken.contains(&(expert as u32)) {
                best = Some((expert, value));
            }
        }
        place[0] = best.map_or(0, |(expert, _)| expert as u32);
    }
}
