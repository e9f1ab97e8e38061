//! Task arithmetic on the factors themselves: `linear`, `ties`, `dare`, as PEFT's `merge_utils` computes them.
use super::parts::{Factors, Term};
use crate::{Error, Fault};
use lora_random::Generator;

/// Which values of a factor stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Thinning {
    /// All.
    None,
    /// The largest by magnitude; of equal ones the first.
    Largest { density: f64 },
    /// Each with probability `density`, divided by it.
    Random { density: f64, seed: u64 },
}

/// A' = Σ ±√|wᵢ·sᵢ|·Aᵢ and B' = Σ √|wᵢ·sᵢ|·Bᵢ (the sign stands with A), over thinned Aᵢ and Bᵢ; with `majority` only the
/// values that have the sign of their sum count, and their mean is taken.
pub(super) fn combine(
    terms: &[Term],
    path: &str,
    thinning: Thinning,
    majority: bool,
) -> Result<Factors, Error> {
    let rank = terms.first().map_or(0, |term| term.rank);
    if let Some(other) = terms.iter().find(|term| term.rank != rank) {
        return Err(Error::config(
            Fault::new(format!(
                "{path} has rank {rank} in one adapter and {} in another: this combination needs equal ranks",
                other.rank
            ))
            .hint("use cat (exact) or svd, which take any ranks"),
        ));
    }
    let root = |term: &Term| term.weight.abs().sqrt();
    let a = factor(
        terms,
        |term| (term.a, root(term) * term.weight.signum()),
        thinning,
        majority,
        &format!("{path} A"),
    );
    let b = factor(
        terms,
        |term| (term.b, root(term)),
        thinning,
        majority,
        &format!("{path} B"),
    );
    Ok(Factors { a, b, rank })
}

fn factor<'a>(
    terms: &[Term<'a>],
    values: impl Fn(&Term<'a>) -> (&'a [f32], f64),
    thinning: Thinning,
    majority: bool,
    name: &str,
) -> Vec<f32> {
    let thinned = |term| {
        let (tensor, weight) = values(term);
        (
            thin(tensor, thinning, &format!("{} {name}", term.index)),
            weight,
        )
    };
    let tensors: Vec<(Vec<f64>, f64)> = terms.iter().map(thinned).collect();
    let length = tensors.first().map_or(0, |(tensor, _)| tensor.len());
    let merge = |i: usize| {
        let values = tensors.iter().map(|(tensor, weight)| (tensor[i], *weight));
        if majority {
            agreed(values)
        } else {
            values.map(|(x, weight)| weight * x).sum()
        }
    };
    (0..length).map(|i| merge(i) as f32).collect()
}

/// The mean of the weighted values that have the sign of the unweighted sum (a sum of zero counts as positive).
fn agreed(values: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let positive = values.clone().map(|(x, _)| x).sum::<f64>() >= 0.0;
    let agree = values.filter(|&(x, _)| if positive { x > 0.0 } else { x < 0.0 });
    let (sum, count) = agree.fold((0.0, 0.0), |(sum, count), (x, weight)| {
        (sum + weight * x, count + 1.0)
    });
    if count > 0.0 { sum / count } else { 0.0 }
}

fn thin(tensor: &[f32], thinning: Thinning, name: &str) -> Vec<f64> {
    let mut values: Vec<f64> = tensor.iter().map(|&x| f64::from(x)).collect();
    match thinning {
        Thinning::Largest { density } if density < 1.0 => {
            let kept = (density * values.len() as f64) as usize;
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&i, &j| values[j].abs().total_cmp(&values[i].abs()).then(i.cmp(&j)));
            order[kept..].iter().for_each(|&i| values[i] = 0.0);
        }
        Thinning::Random { density, seed } if density < 1.0 => {
            let mut rng = Generator::named("lora dare", seed, name);
            for value in &mut values {
                *value = if rng.unit() < density {
                    *value / density
                } else {
                    0.0
                };
            }
        }
        _ => {}
    }
    values
}
