//! Which token comes next: the most probable one, or one by chance, as transformers' logits processors have it.
use lora_kernels::vector::argmax;
use lora_random::Generator;
use std::collections::BTreeSet;

/// How the next token is chosen. The order is transformers': repetition penalty, temperature, top-k, top-p, min-p.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the most probable token.
    pub temperature: f64,
    /// Only so many of the most probable tokens; 0 is all.
    pub top_k: usize,
    /// Only the most probable tokens that together have this probability (Holtzman et al. 2020); 1 is all.
    pub top_p: f64,
    /// Only tokens of at least this share of the most probable one's probability (Nguyen et al. 2024); 0 is all.
    pub min_p: f64,
    /// Logits of tokens that the text has are divided by it where positive, else multiplied (Keskar et al. 2019); 1 is off.
    pub repetition_penalty: f64,
}

impl Sampling {
    /// The most probable token, always.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
    };

    /// True if no chance is in it.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// The stream of chance of one text: `name` keys the draws, so that neither order nor company of texts changes them.
    pub fn stream(seed: u64, name: &str) -> Generator {
        Generator::named("sampled answers", seed, name)
    }

    /// The next token for logits (V) after a text; a draw comes from `chance`.
    pub(crate) fn choose(
        &self,
        logits: &[f32],
        text: [&[u32]; 2],
        chance: Option<&mut Generator>,
    ) -> u32 {
        if self.repetition_penalty == 1.0 && self.is_greedy() {
            return argmax(logits) as u32;
        }
        let mut logits: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        self.punish(&mut logits, text);
        let Some(chance) = chance.filter(|_| !self.is_greedy()) else {
            return first_largest(&logits);
        };
        let kept = self.kept(&logits);
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut left = chance.unit() * total;
        for &(id, weight) in &kept {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        kept.last().map_or(0, |(id, _)| *id)
    }

    fn punish(&self, logits: &mut [f64], text: [&[u32]; 2]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let seen: BTreeSet<u32> = text.into_iter().flatten().copied().collect();
        for id in seen {
            let logit = &mut logits[id as usize];
            *logit = match *logit > 0.0 {
                true => *logit / self.repetition_penalty,
                false => *logit * self.repetition_penalty,
            };
        }
    }

    /// Tokens that may be drawn and their weights, the most probable first; equal ones in the order of their ids.
    fn kept(&self, logits: &[f64]) -> Vec<(u32, f64)> {
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight =
            |(id, &logit): (usize, &f64)| (id as u32, ((logit - largest) / self.temperature).exp());
        let mut kept: Vec<(u32, f64)> = logits.iter().enumerate().map(weight).collect();
        kept.retain(|(_, weight)| *weight > 0.0);
        kept.sort_by(|a, b| b.1.total_cmp(&a.1));
        if self.top_k > 0 {
            kept.truncate(self.top_k);
        }
        if self.top_p < 1.0 {
            let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
            let mut before = 0.0;
            let is_in = |(_, weight): &(u32, f64)| {
                let is_needed = before < self.top_p * total;
                before += weight;
                is_needed
            };
            let needed = kept
                .iter()
                .map(is_in)
                .take_while(|is_needed| *is_needed)
                .count();
            kept.truncate(needed.max(1));
        }
        kept.retain(|(_, weight)| *weight >= self.min_p);
        kept
    }
}

fn first_largest(logits: &[f64]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -1.0, 3.0];

    fn kept(sampling: Sampling) -> Vec<u32> {
        let logits = LOGITS.map(f64::from);
        sampling
            .kept(&logits)
            .into_iter()
            .map(|(id, _)| id)
            .collect()
    }

    fn warm() -> Sampling {
        Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        }
    }

    #[test]
    fn each_filter_keeps_what_transformers_keeps() {
        // softmax: 0.0537, 0.3966, 0.1459, 0.0073, 0.3966 (transformers' warpers on the same logits).
        assert_eq!(kept(warm()), [1, 4, 2, 0, 3]);
        assert_eq!(kept(Sampling { top_k: 3, ..warm() }), [1, 4, 2]);
        assert_eq!(
            kept(Sampling {
                top_p: 0.7,
                ..warm()
            }),
            [1, 4]
        );
        assert_eq!(
            kept(Sampling {
                top_p: 0.8,
                ..warm()
            }),
            [1, 4, 2]
        );
        assert_eq!(
            kept(Sampling {
                top_p: 0.01,
                ..warm()
            }),
            [1]
        );
        assert_eq!(
            kept(Sampling {
                min_p: 0.3,
                ..warm()
            }),
            [1, 4, 2]
        );
        assert_eq!(
            kept(Sampling {
                top_k: 3,
                top_p: 0.8,
                ..warm()
            }),
            [1, 4]
        );
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut chance = Sampling::stream(3, "row");
        let mut counts = [0usize; 5];
        let draws = 20_000;
        for _ in 0..draws {
            let id = warm().choose(&LOGITS, [&[], &[]], Some(&mut chance));
            counts[id as usize] += 1;
        }
        let wanted = [0.0537, 0.3966, 0.1459, 0.0073, 0.3966];
        for (count, wanted) in counts.iter().zip(wanted) {
            let share = *count as f64 / f64::from(draws);
            let deviation = (wanted * (1.0 - wanted) / f64::from(draws)).sqrt();
            assert!((share - wanted).abs() < 5.0 * deviation, "{counts:?}");
        }
    }

    #[test]
    fn what_the_text_has_is_punished() {
        let punished = Sampling {
            repetition_penalty: 2.0,
            ..Sampling::GREEDY
        };
        let next = |text: &[u32]| punished.choose(&LOGITS, [text, &[]], None);
        assert_eq!(
            (next(&[]), next(&[1]), next(&[1, 4]), next(&[1, 1])),
            (1, 4, 2, 4)
        );
        assert_eq!(Sampling::GREEDY.choose(&LOGITS, [&[1], &[]], None), 1);
    }

    #[test]
    fn a_cold_draw_is_the_most_probable() {
        let cold = Sampling {
            temperature: 1e-4,
            ..Sampling::GREEDY
        };
        let logits = [0.0, 5.0, 4.9];
        let mut chance = Sampling::stream(0, "");
        assert!((0..100).all(|_| cold.choose(&logits, [&[], &[]], Some(&mut chance)) == 1));
    }
}
