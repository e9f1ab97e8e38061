//! The paired difference of two models' losses, with an error that respects rows which share a prompt.
use crate::distributions::student_t;
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
    fn one_prompt_has_no_error_estimate() {
        let d = difference(&[loss(2.0, 1)], &[loss(1.0, 1)], &[], TAIL);
        assert_eq!((d.nll, d.standard_error, d.low), (-1.0, None, None));
    }
}
