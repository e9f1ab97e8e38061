//! chrF2 over the corpus as sacrebleu computes it by default: n-grams of up to 6 characters, white space left out.
use super::metric::{Metric, Scale, Sums};
use super::text::is_python_space;
use std::collections::HashMap;

/// Longest n-gram.
const ORDER: usize = 6;
/// β²: how much more recall counts than precision (Popović 2015).
const BETA_SQUARED: f64 = 4.0;

/// See the module. Sums: n-grams of the answer, of the best reference, and matches, for each n.
pub(crate) struct ChrF;

impl Metric for ChrF {
    fn name(&self) -> &str {
        "chrf"
    }

    fn scale(&self) -> Scale {
        Scale::Corpus
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        let answer = letters(answer);
        let mut best: Option<(f64, Sums)> = None;
        for reference in references
            .iter()
            .map(|r| letters(r))
            .filter(|r| !r.is_empty())
        {
            let sums = statistics(&answer, &reference);
            let score = self.figure(&sums);
            if best.as_ref().is_none_or(|(known, _)| score > *known) {
                best = Some((score, sums));
            }
        }
        Some(best.map_or_else(|| vec![0.0; 3 * ORDER], |(_, sums)| sums))
    }

    /// `CHRF._compute_f_score` of sacrebleu: means of precision and recall over the orders that both sides have.
    fn figure(&self, sums: &[f64]) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for order in sums.chunks_exact(3) {
            let (answered, wanted, matched) = (order[0], order[1], order[2]);
            if answered > 0.0 && wanted > 0.0 {
                precision += matched / answered;
                recall += matched / wanted;
                orders += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        precision /= orders;
        recall /= orders;
        100.0 * ((1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall))
    }
}

fn letters(text: &str) -> Vec<char> {
    text.chars().filter(|&c| !is_python_space(c)).collect()
}

fn statistics(answer: &[char], reference: &[char]) -> Sums {
    let mut sums = Vec::with_capacity(3 * ORDER);
    for n in 1..=ORDER {
        let wanted = counts(reference, n);
        let answered = counts(answer, n);
        let matched = |(gram, count): (&&[char], &usize)| {
            wanted.get(*gram).map_or(0, |most| *most.min(count))
        };
        let hits: usize = answered.iter().map(matched).sum();
        // n-grams that no reference can have are no errors.
        let own = if wanted.is_empty() {
            0
        } else {
            answered.values().sum()
        };
        sums.extend([own, wanted.values().sum(), hits].map(|count: usize| count as f64));
    }
    sums
}

fn counts(letters: &[char], n: usize) -> HashMap<&[char], usize> {
    let mut counts = HashMap::new();
    for gram in letters.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}
