//! The difference of a metric between two models on the same rows, and how sure it is.
use crate::distributions::{sign_test, student_t, two_sided};
use crate::estimate::{Row, by_prompt, jackknife, summed};
use crate::measure::Measure;
use crate::metrics::{Scale, Sums};
use crate::statistics::TAIL;
use lora_random::Generator;

/// Prompts that differ up to which every way to swap the models is tried; beyond, so many are drawn.
const ENUMERATED: usize = 12;
const DRAWS: usize = 9_999;

/// A difference between two models, the p-value not yet corrected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Paired {
    pub(crate) value: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    pub(crate) p_value: f64,
}

/// The metric of `second` − that of `first` on the same rows; none without rows.
pub(crate) fn paired(measure: &Measure, first: &[Row<'_>], second: &[Row<'_>]) -> Option<Paired> {
    let (first, second) = (by_prompt(first), by_prompt(second));
    let width = first.first()?.len();
    // One list of both models' sums, so that both lose a prompt together.
    let both: Vec<Sums> = first
        .iter()
        .zip(&second)
        .map(|(a, b)| [&a[..], &b[..]].concat())
        .collect();
    let total = summed(&both, 2 * width);
    let difference = |sums: &[f64]| measure.figure(&sums[width..]) - measure.figure(&sums[..width]);
    let value = difference(&total);
    let error = jackknife(&total, &both, difference);
    let half = error.map(|error| student_t(TAIL, both.len() - 1) * error);
    let p_value = match measure.scale {
        Scale::Share => sign(&both, width),
        Scale::Free if measure.is_loss => match error {
            Some(error) if error > 0.0 => two_sided(value / error, both.len() - 1),
            _ => sign(&both, width),
        },
        _ => randomised(measure, &both, width, value),
    };
    Some(Paired {
        value,
        low: half.map(|half| value - half),
        high: half.map(|half| value + half),
        p_value,
    })
}

/// How likely a difference like that to chance is, if answers had nothing to do with their prompts.
pub(crate) fn chance_p(measure: &Measure, chance: &[Row<'_>], own: &[Row<'_>]) -> f64 {
    let (chance, own) = (by_prompt(chance), by_prompt(own));
    let Some(width) = chance.first().map(Vec::len) else {
        return 1.0;
    };
    let both: Vec<Sums> = chance
        .iter()
        .zip(&own)
        .map(|(a, b)| [&a[..], &b[..]].concat())
        .collect();
    let total = summed(&both, 2 * width);
    let observed = measure.figure(&total[width..]) - measure.figure(&total[..width]);
    randomised(measure, &both, width, observed)
}

/// The exact sign test on the prompts whose scores differ (McNemar's with one row a prompt).
fn sign(both: &[Sums], width: usize) -> f64 {
    let balance = |sums: &Sums| sums[width] - sums[0];
    let up = both.iter().filter(|sums| balance(sums) > 0.0).count();
    let down = both.iter().filter(|sums| balance(sums) < 0.0).count();
    sign_test(up.min(down), up + down)
}

/// Paired randomisation (Noreen 1989): how often a difference as large comes about where each prompt's two results are
/// swapped by a coin. All ways where few prompts differ, else a fixed number of draws, the same ones in every run.
fn randomised(measure: &Measure, both: &[Sums], width: usize, observed: f64) -> f64 {
    let differs = |sums: &&Sums| sums[..width] != sums[width..];
    let differing: Vec<&Sums> = both.iter().filter(differs).collect();
    let start = summed(both, 2 * width);
    let least = observed.abs() * (1.0 - 1e-9);
    let reaches = |is_swapped: &mut dyn FnMut(usize) -> bool| {
        let mut total = start.clone();
        for (at, sums) in differing.iter().enumerate() {
            if is_swapped(at) {
                for i in 0..width {
                    let change = sums[width + i] - sums[i];
                    total[i] += change;
                    total[width + i] -= change;
                }
            }
        }
        let value = measure.figure(&total[width..]) - measure.figure(&total[..width]);
        value.abs() >= least
    };
    if differing.len() <= ENUMERATED {
        let ways = 1usize << differing.len();
        let reached = (0..ways).filter(|way| reaches(&mut |at| way >> at & 1 == 1));
        return reached.count() as f64 / ways as f64;
    }
    let reached = (0..DRAWS).filter(|draw| {
        let mut coins = Generator::at_step("paired randomisation", 0, *draw as u64);
        reaches(&mut |_| coins.unit() < 0.5)
    });
    (reached.count() + 1) as f64 / (DRAWS + 1) as f64
}

/// p-values of several tests corrected together (Holm 1979), in their order: the chance that any of those called
/// different is not stays below the level.
pub(crate) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![1.0; p_values.len()];
    let mut least = 0.0f64;
    for (rank, &at) in order.iter().enumerate() {
        least = least
            .max((p_values.len() - rank) as f64 * p_values[at])
            .min(1.0);
        corrected[at] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(sums: &[Sums]) -> Vec<Row<'_>> {
        sums.iter().enumerate().collect()
    }

    fn scores(scores: &[f64]) -> Vec<Sums> {
        scores.iter().map(|&score| vec![score, 1.0]).collect()
    }

    #[test]
    fn randomisation_tries_every_swap() {
        let measure = Measure::of_scores("m", Scale::Unit);
        let low = scores(&[0.1; 5]);
        let high = scores(&[0.5; 5]);
        let found = paired(&measure, &rows(&low), &rows(&high)).unwrap();
        assert!((found.value - 0.4).abs() < 1e-12);
        assert!(
            (found.p_value - 2.0 / 32.0).abs() < 1e-12,
            "five prompts can't be sure: {found:?}"
        );
        let same = paired(&measure, &rows(&high), &rows(&high)).unwrap();
        assert_eq!((same.value, same.p_value), (0.0, 1.0));
        let many: Vec<f64> = (0..40).map(|i| 0.1 + 0.01 * f64::from(i % 7)).collect();
        let more: Vec<f64> = many.iter().map(|score| score + 0.2).collect();
        let (many, more) = (scores(&many), scores(&more));
        let found = paired(&measure, &rows(&many), &rows(&more)).unwrap();
        assert!(found.p_value < 2e-4, "{found:?}");
    }

    #[test]
    fn rows_of_one_prompt_move_together() {
        let measure = Measure::of_scores("m", Scale::Unit);
        let (low, high) = (scores(&[0.1; 8]), scores(&[0.5; 8]));
        let by_pairs = |sums: &'static [Sums]| -> Vec<Row<'static>> {
            sums.iter()
                .enumerate()
                .map(|(row, sums)| (row / 4, sums))
                .collect()
        };
        let (low, high) = (by_pairs(low.leak()), by_pairs(high.leak()));
        assert_eq!(paired(&measure, &low, &high).unwrap().p_value, 0.5);
    }

    #[test]
    fn holm_multiplies_the_least_most_and_keeps_the_order() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") = 0.03 0.06 0.06 0.02
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (own, wanted) in corrected.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((own - wanted).abs() < 1e-12, "{corrected:?}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
