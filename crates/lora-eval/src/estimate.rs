//! A metric's value over rows and its interval by prompts.
use crate::distributions::{binomial_interval, student_t};
use crate::measure::Measure;
use crate::metrics::{Scale, Sums};
use crate::statistics::TAIL;
use std::collections::BTreeMap;

/// A value and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    pub(crate) rows: usize,
    pub(crate) prompts: usize,
}

/// A row's prompt and its sums; rows without sums are left out.
pub(crate) type Row<'a> = (usize, &'a Sums);

/// The metric over these rows; none of none.
///
/// The interval is the delete-one-prompt jackknife's (Efron and Stein 1981) with Student's t; shares, and means of scores
/// that are all equal, have Clopper and Pearson's for as many rows as there are prompts, since no row differing from the
/// others says little where prompts are few.
pub(crate) fn estimate(measure: &Measure, rows: &[Row<'_>]) -> Option<Estimate> {
    let clusters = by_prompt(rows);
    let first = clusters.first()?;
    let total = summed(&clusters, first.len());
    let value = measure.figure(&total);
    let k = clusters.len();
    let deviation = jackknife(&total, &clusters, |sums| measure.figure(sums));
    let (low, high) = match (measure.scale, deviation) {
        (Scale::Share, _) => share_interval(value, deviation, k),
        (Scale::Unit, None | Some(0.0)) => binomial_interval(value, k as f64, TAIL),
        (Scale::Corpus, None | Some(0.0)) => {
            let (low, high) = binomial_interval(0.01 * value, k as f64, TAIL);
            (100.0 * low, 100.0 * high)
        }
        (Scale::Free, None) => (f64::NAN, f64::NAN),
        (scale, Some(error)) => {
            let half = student_t(TAIL, k - 1) * error;
            let (least, most) = bounds(scale);
            ((value - half).max(least), (value + half).min(most))
        }
    };
    Some(Estimate {
        value,
        low: (!low.is_nan()).then_some(low),
        high: (!high.is_nan()).then_some(high),
        rows: rows.len(),
        prompts: k,
    })
}

/// Clopper and Pearson's interval for as many rows as the variance is worth, never more than prompts.
fn share_interval(value: f64, deviation: Option<f64>, prompts: usize) -> (f64, f64) {
    let most = prompts as f64;
    let worth = deviation.map_or(most, |error| value * (1.0 - value) / (error * error));
    let effective = if worth.is_finite() {
        worth.clamp(1.0, most)
    } else {
        most
    };
    binomial_interval(value, effective, TAIL)
}

fn bounds(scale: Scale) -> (f64, f64) {
    match scale {
        Scale::Share | Scale::Unit => (0.0, 1.0),
        Scale::Corpus => (0.0, 100.0),
        Scale::Free => (f64::NEG_INFINITY, f64::INFINITY),
    }
}

/// Sums of each prompt, in the prompts' order.
pub(crate) fn by_prompt(rows: &[Row<'_>]) -> Vec<Sums> {
    let mut clusters: BTreeMap<usize, Sums> = BTreeMap::new();
    for (prompt, sums) in rows {
        match clusters.get_mut(prompt) {
            Some(known) => add(known, sums),
            None => {
                clusters.insert(*prompt, (*sums).clone());
            }
        }
    }
    clusters.into_values().collect()
}

fn add(total: &mut [f64], sums: &[f64]) {
    for (total, own) in total.iter_mut().zip(sums) {
        *total += own;
    }
}

pub(crate) fn summed(clusters: &[Sums], width: usize) -> Sums {
    let mut total = vec![0.0; width];
    for sums in clusters {
        add(&mut total, sums);
    }
    total
}

/// Standard error by leaving out one prompt at a time: √((k−1)/k · Σ (θᵢ − θ̄)²); none for one prompt.
pub(crate) fn jackknife(
    total: &[f64],
    clusters: &[Sums],
    figure: impl Fn(&[f64]) -> f64,
) -> Option<f64> {
    if clusters.len() < 2 {
        return None;
    }
    let mut without = vec![0.0; total.len()];
    let values: Vec<f64> = clusters
        .iter()
        .map(|sums| {
            for (at, own) in sums.iter().enumerate() {
                without[at] = total[at] - own;
            }
            figure(&without)
        })
        .collect();
    let k = clusters.len() as f64;
    let mean = values.iter().sum::<f64>() / k;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = ((k - 1.0) / k * squares).sqrt();
    // What rounding leaves of equal values is no deviation.
    let least = 1e-12 * mean.abs();
    Some(if error <= least { 0.0 } else { error })
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
    fn a_means_error_is_that_of_the_mean_and_equal_scores_prove_little() {
        let measure = Measure::of_scores("m", Scale::Unit);
        let own = scores(&[0.2, 0.4, 0.9]);
        let mean = estimate(&measure, &rows(&own)).unwrap();
        // Sample deviation 0.360555, ÷ √3, t(2) = 4.302653: more than the scale is wide.
        assert!(
            (mean.value - 0.5).abs() < 1e-12 && mean.low == Some(0.0) && mean.high == Some(1.0)
        );
        let equal = scores(&[1.0; 3]);
        let equal = estimate(&measure, &rows(&equal)).unwrap();
        assert!(
            (equal.low.unwrap() - 0.292_401).abs() < 1e-5,
            "R: binom.test(3, 3): {equal:?}"
        );
        let one = scores(&[0.7]);
        let one = estimate(&measure, &rows(&one)).unwrap();
        assert!(one.high.unwrap() - one.low.unwrap() > 0.9, "{one:?}");
    }
}
