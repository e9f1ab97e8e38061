//! How far one model's predictions are from another's, at the supervised places of some rows.
use lora_cli::{Result, Ui};
use lora_core::Adapter;
use lora_data::Example;
use lora_model::{Base, Fused, Packed};
use rayon::prelude::*;
use std::ops::Range;

/// Logits that are in memory at a time, of each of the two.
const LOGITS: usize = 1 << 25;

/// A model whose predictions are looked at.
pub(crate) struct Predicts<'a> {
    pub(crate) base: &'a Base,
    pub(crate) adapter: Option<&'a Adapter>,
}

/// What was found, over all supervised places.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub(crate) struct Divergence {
    pub(crate) rows: usize,
    pub(crate) tokens: usize,
    /// Σ p·ln(p/q), nats: mean and largest.
    pub(crate) mean_kl: f64,
    pub(crate) max_kl: f64,
    /// Share of places at which both have the same likeliest token.
    pub(crate) agreement: f64,
    /// exp of the mean loss, of the reference and of the other.
    pub(crate) reference_perplexity: f64,
    pub(crate) perplexity: f64,
}

/// One place.
#[derive(Clone, Copy, Default)]
struct Place {
    kl: f64,
    agrees: bool,
    reference_nll: f64,
    nll: f64,
}

/// Runs the rows through both.
pub(crate) fn measure(
    reference: &Predicts<'_>,
    other: &Predicts<'_>,
    rows: &[Example],
    label: &str,
    ui: &Ui,
) -> Result<Divergence> {
    let threads = lora_cli::cores();
    let vocabulary = reference.base.config().vocab_size;
    let mut first = Fused::new(reference.base, threads)?;
    let mut second = Fused::new(other.base, threads)?;
    let tokens: usize = rows.iter().map(|row| row.input_ids.len()).sum();
    let progress = ui.progress(label, tokens as u64, "tok");
    let mut places: Vec<Place> = Vec::new();
    for range in packs(rows, (LOGITS / vocabulary).max(1)) {
        ui.check_interrupt()?;
        let pack = &rows[range];
        let packed = Packed::from_rows(
            pack.iter()
                .map(|row| (row.input_ids.as_slice(), row.labels.as_slice())),
        );
        let (at, targets): (Vec<usize>, Vec<u32>) =
            packed.targets().map(|(_, at, target)| (at, target)).unzip();
        let p = first.logits_at(reference.adapter, &packed, &at)?;
        let q = second.logits_at(other.adapter, &packed, &at)?;
        let of_place = |(index, &target): (usize, &u32)| {
            let logits = index * vocabulary..(index + 1) * vocabulary;
            place(&p[logits.clone()], &q[logits], target as usize)
        };
        let found: Vec<Place> = targets.par_iter().enumerate().map(of_place).collect();
        places.extend(found);
        progress.inc(packed.tokens() as u64);
    }
    Ok(summary(&places, rows.len()))
}

fn summary(places: &[Place], rows: usize) -> Divergence {
    let count = places.len().max(1) as f64;
    let mean = |of: fn(&Place) -> f64| places.iter().map(of).sum::<f64>() / count;
    Divergence {
        rows,
        tokens: places.len(),
        mean_kl: mean(|place| place.kl),
        max_kl: places
            .iter()
            .fold(0.0, |most, place| f64::max(most, place.kl)),
        agreement: mean(|place| f64::from(u8::from(place.agrees))),
        reference_perplexity: mean(|place| place.reference_nll).exp(),
        perplexity: mean(|place| place.nll).exp(),
    }
}

fn place(p: &[f32], q: &[f32], target: usize) -> Place {
    let (p_top, p_log_sum) = log_sum(p);
    let (q_top, q_log_sum) = log_sum(q);
    let kl = p.iter().zip(q).fold(0.0, |sum, (&p, &q)| {
        let log_p = f64::from(p) - p_log_sum;
        let log_q = f64::from(q) - q_log_sum;
        sum + log_p.exp() * (log_p - log_q)
    });
    Place {
        kl: kl.max(0.0),
        agrees: p_top == q_top,
        reference_nll: p_log_sum - f64::from(p[target]),
        nll: q_log_sum - f64::from(q[target]),
    }
}

/// The place of the largest logit, and ln Σ exp.
fn log_sum(logits: &[f32]) -> (usize, f64) {
    let largest = |best: (usize, f32), (i, &logit): (usize, &f32)| match logit > best.1 {
        true => (i, logit),
        false => best,
    };
    let (top, most) = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), largest);
    let most = f64::from(most);
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - most).exp()).sum();
    (top, most + sum.ln())
}

/// Consecutive rows of at most so many tokens together; a longer row stands alone.
pub(crate) fn packs(rows: &[Example], most: usize) -> Vec<Range<usize>> {
    let mut packs: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (index, row) in rows.iter().enumerate() {
        let length = row.input_ids.len();
        match packs.last_mut() {
            Some(pack) if tokens + length <= most => pack.end = index + 1,
            _ => {
                packs.push(index..index + 1);
                tokens = 0;
            }
        }
        tokens += length;
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_judged_as_in_the_definition() {
        let (p, q) = ([0.0f32, 1.0, 2.0], [0.5f32, 3.0, 0.0]);
        let soft = |x: [f32; 3]| {
            let exp = x.map(|x| f64::from(x).exp());
            let sum: f64 = exp.iter().sum();
            exp.map(|e| e / sum)
        };
        let (a, b) = (soft(p), soft(q));
        let kl: f64 = (0..3).map(|i| a[i] * (a[i] / b[i]).ln()).sum();
        let found = place(&p, &q, 1);
        assert!((found.kl - kl).abs() < 1e-12);
        assert!((found.reference_nll + a[1].ln()).abs() < 1e-12);
        assert!((found.nll + b[1].ln()).abs() < 1e-12);
        assert!(!found.agrees);
        let same = place(&p, &p, 0);
        assert!(same.kl == 0.0 && same.agrees);
    }
}
