//! The paired difference of two models' losses, with an error that respects rows which share a prompt.
use crate::distributions::{binomial_interval, student_t};
use lora_model::SequenceLoss;
use lora_records::Difference;
use std::collections::BTreeMap;

/// What a 95 % interval leaves out.
pub(crate) const TAIL: f64 = 0.05;

/// Difference of the mean loss per token, `model` − `base`, both measured on the same rows.
///
/// Both means are ratios (Σ nll ÷ Σ tokens), so the error is the linearised one of a ratio of sums, with the rows of
/// one `group` (one prompt) as one cluster: their completions are no independent evidence.
/// The interval leaves `tail` out ([`TAIL`], or less where several differences are looked at together).
/// d = Σᵢ δᵢ ÷ Σᵢ nᵢ, SE² = k/(k−1) · Σᵢ (δᵢ − d·nᵢ)² ÷ (Σᵢ nᵢ)² over k clusters (Cochran, Sampling Techniques, 6.4).
pub(crate) fn difference(
    base: &[SequenceLoss],
    model: &[SequenceLoss],
    groups: &[String],
    tail: f64,
) -> Difference {
    let mut clusters: BTreeMap<String, (f64, f64)> = BTreeMap::new(); // (Σ δ, tokens)
    for (row, (b, m)) in base
        .iter()
        .zip(model)
        .enumerate()
        .filter(|(_, (b, _))| b.tokens > 0)
    {
        let sums = clusters.entry(cluster(groups, row)).or_default();
        sums.0 += m.nll - b.nll;
        sums.1 += b.tokens as f64;
    }
    let tokens: f64 = clusters.values().map(|(_, n)| n).sum();
    let nll = clusters.values().map(|(delta, _)| delta).sum::<f64>() / tokens;
    let k = clusters.len() as f64;
    let squares: f64 = clusters
        .values()
        .map(|(delta, n)| (delta - nll * n).powi(2))
        .sum();
    let standard_error = (clusters.len() > 1).then(|| (k / (k - 1.0) * squares).sqrt() / tokens);
    let half = standard_error.map(|error| student_t(tail, clusters.len() - 1) * error);
    Difference {
        nll,
        standard_error,
        low: half.map(|h| nll - h),
        high: half.map(|h| nll + h),
        prompts: clusters.len(),
    }
}

/// A share of rows and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Different prompts, which are the evidence.
    pub(crate) prompts: usize,
}

/// The share of `hits`, none of nothing. The interval is Clopper and Pearson's (1934), which holds at 0 and at 1 too, for as
/// many independent rows as the clustered variance is worth (Kish's effective size), but never more than prompts.
pub(crate) fn share(hits: &[bool], groups: &[String]) -> Option<Share> {
    let mut clusters: BTreeMap<String, (f64, f64)> = BTreeMap::new(); // (hits, rows)
    for (row, &hit) in hits.iter().enumerate() {
        let sums = clusters.entry(cluster(groups, row)).or_default();
        sums.0 += f64::from(u8::from(hit));
        sums.1 += 1.0;
    }
    if clusters.is_empty() {
        return None;
    }
    let rows = hits.len() as f64;
    let value = clusters.values().map(|(hits, _)| hits).sum::<f64>() / rows;
    let k = clusters.len() as f64;
    let squares: f64 = clusters
        .values()
        .map(|(hits, rows)| (hits - value * rows).powi(2))
        .sum();
    let variance = k / (k - 1.0) * squares / (rows * rows);
    let worth = value * (1.0 - value) / variance;
    let effective = if worth.is_finite() {
        worth.clamp(1.0, k)
    } else {
        k
    };
    let (low, high) = binomial_interval(value, effective, TAIL);
    Some(Share {
        value,
        low,
        high,
        prompts: clusters.len(),
    })
}

/// The prompt of a row; a row without one stands for itself.
pub(crate) fn cluster(groups: &[String], row: usize) -> String {
    match groups.get(row).map(String::as_str) {
        None | Some("") => format!("row {row}"),
        Some(group) => group.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(nll: f64, tokens: usize) -> SequenceLoss {
        SequenceLoss {
            nll,
            tokens,
            correct: 0,
        }
    }

    #[test]
    fn equal_lengths_give_the_standard_error_of_a_mean() {
        let base: Vec<_> = [4.0, 6.0, 8.0].map(|x| loss(x, 2)).to_vec();
        let model: Vec<_> = [3.0, 4.0, 7.0].map(|x| loss(x, 2)).to_vec();
        let d = difference(&base, &model, &[], TAIL);
        // Per-token differences −0.5, −1, −0.5: mean −2/3, sample deviation 0.288675, error ÷ √3.
        assert!((d.nll + 2.0 / 3.0).abs() < 1e-12, "{d:?}");
        assert!(
            (d.standard_error.unwrap() - 1.0 / 6.0).abs() < 1e-12,
            "{d:?}"
        );
        assert_eq!(d.prompts, 3);
    }

    #[test]
    fn rows_of_one_prompt_are_one_piece_of_evidence() {
        let base = vec![loss(4.0, 2); 4];
        let model = vec![loss(3.0, 2), loss(3.0, 2), loss(1.0, 2), loss(1.0, 2)];
        let groups: Vec<_> = ["a", "a", "b", "b"].map(str::to_owned).to_vec();
        let apart = difference(&base, &model, &[], TAIL);
        let together = difference(&base, &model, &groups, TAIL);
        assert_eq!(apart.nll, together.nll);
        assert!(together.standard_error > apart.standard_error);
        assert_eq!(together.prompts, 2);
    }

    #[test]
    fn one_exact_answer_proves_next_to_nothing() {
        let one = share(&[true], &[]).unwrap();
        assert!((one.low - 0.025).abs() < 1e-9 && one.high == 1.0, "{one:?}");
        let same: Vec<_> = vec!["a".to_owned(); 50];
        let repeated = share(&[true; 50], &same).unwrap();
        assert_eq!(
            (repeated.low, repeated.prompts),
            (one.low, 1),
            "one prompt fifty times"
        );
        assert_eq!(share(&[], &[]), None);
    }

    #[test]
    fn a_share_has_clopper_and_pearsons_interval() {
        // R: binom.test(0, 20) and binom.test(20, 20): 0 to 0.1684335, 0.8315665 to 1.
        let none = share(&[false; 20], &[]).unwrap();
        assert!(
            none.low == 0.0 && (none.high - 0.168_433_5).abs() < 1e-6,
            "{none:?}"
        );
        let all = share(&[true; 20], &[]).unwrap();
        assert!(
            (all.low - 0.831_566_5).abs() < 1e-6 && all.high == 1.0,
            "{all:?}"
        );
        let mixed: Vec<bool> = (0..100).map(|row| row % 4 != 0).collect();
        let prompts: Vec<String> = (0..100).map(|row| format!("{}", row % 10)).collect();
        let (apart, together) = (
            share(&mixed, &[]).unwrap(),
            share(&mixed, &prompts).unwrap(),
        );
        assert!(
            together.low < apart.low && together.high > apart.high,
            "{apart:?} {together:?}"
        );
    }

    #[test]
    fn one_prompt_has_no_error_estimate() {
        let d = difference(&[loss(2.0, 1)], &[loss(1.0, 1)], &[], TAIL);
        assert_eq!((d.nll, d.standard_error, d.low), (-1.0, None, None));
    }
}
