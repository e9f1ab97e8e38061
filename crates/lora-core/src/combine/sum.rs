//! Σ wᵢ·sᵢ·Bᵢ·Aᵢ of each module, and the adapter that it makes.
use super::assemble;
use super::parts::{Factors, Term};
use super::sparse::{self, Thinning};
use super::types::{Combination, Combined, Deviation};
use crate::linalg::{Matrix, product_norm, singular};
use crate::{Adapter, Error, Fault, Module};
use std::borrow::Cow;

/// Combines adapters, each with its weight, on a model with these modules (or on those that the adapters' own files
/// name).
///
/// # Errors
/// When a weight or density is out of range, when two adapters disagree about a module's shape, when `Linear` and its
/// kin meet different ranks, and when an adapter holds what is no low-rank sum.
pub fn combine(
    adapters: &[(&Adapter, f64)],
    how: Combination,
    modules: &[Module],
) -> Result<Combined, Error> {
    check(adapters, how)?;
    let adapters: Vec<_> = adapters
        .iter()
        .map(|&(a, w)| Ok((a.as_low_rank()?, w)))
        .collect::<Result<_, Error>>()?;
    let places = assemble::places(&adapters, modules)?;
    let mut parts = Vec::with_capacity(places.len());
    let mut deviations = Vec::with_capacity(places.len());
    for module in &places {
        let terms = terms(&adapters, &module.path);
        let (factors, deviation) = combine_module(&terms, how, module)?;
        parts.push(factors);
        deviations.push(deviation);
    }
    Ok(Combined {
        adapter: assemble::adapter(&adapters, &places, modules, &parts)?,
        deviations,
    })
}

fn check(adapters: &[(&Adapter, f64)], how: Combination) -> Result<(), Error> {
    let fail = |message: String| Err(Error::config(message));
    if adapters.is_empty() {
        return fail("no adapters to combine".to_owned());
    }
    let of_parameters = |(adapter, _): &&(&Adapter, f64)| adapter.config.targets_parameters();
    if adapters.iter().any(|own| of_parameters(&own)) {
        let what = "an adapter with target_parameters can't be weighted or added to others, as in PEFT (add_weighted_adapter)";
        return Err(Error::config(Fault::new(what).hint(
            "merge one after the other into the base (lora-merge --adapter A --out M, then --base M --allow-other-base)",
        )));
    }
    if let Some((_, weight)) = adapters.iter().find(|(_, weight)| !weight.is_finite()) {
        return fail(format!(
            "an adapter's weight must be a finite number, not {weight}"
        ));
    }
    match how {
        Combination::Svd { rank: 0 } => {
            fail("the rank of the result must be at least 1, not 0".to_owned())
        }
        Combination::Ties { density }
        | Combination::Dare { density, .. }
        | Combination::DareTies { density, .. }
            if !(density > 0.0 && density <= 1.0) =>
        {
            fail(format!("the density must lie in (0, 1], not {density}"))
        }
        _ => Ok(()),
    }
}

fn terms<'a>(adapters: &'a [(Cow<'_, Adapter>, f64)], path: &str) -> Vec<Term<'a>> {
    let term = |(index, (adapter, weight)): (usize, &'a (Cow<'_, Adapter>, f64))| {
        let place = adapter.find(path)?;
        let module = &adapter.modules[place];
        let (a, b) = adapter.factors(place);
        Some(Term {
            index,
            a,
            b,
            rank: module.rank,
            weight: weight * f64::from(module.scaling),
        })
    };
    adapters.iter().enumerate().filter_map(term).collect()
}

fn combine_module(
    terms: &[Term],
    how: Combination,
    module: &Module,
) -> Result<(Factors, Deviation), Error> {
    let path = module.path.clone();
    let thinning = match how {
        Combination::Cat => {
            let (b, a) = sum_factors(terms, module);
            return Ok((
                cat(terms, module),
                Deviation {
                    path,
                    sum: product_norm(b, a),
                    error: 0.0,
                },
            ));
        }
        Combination::Svd { rank } => {
            let (b, a) = sum_factors(terms, module);
            let (factors, sum, error) = truncated(b, a, rank);
            return Ok((factors, Deviation { path, sum, error }));
        }
        Combination::Linear => Thinning::None,
        Combination::Ties { density } => Thinning::Largest { density },
        Combination::Dare { density, seed } | Combination::DareTies { density, seed } => {
            Thinning::Random { density, seed }
        }
    };
    let majority = matches!(how, Combination::Ties { .. } | Combination::DareTies { .. });
    let factors = sparse::combine(terms, &path, thinning, majority)?;
    let (b, a) = sum_factors(terms, module);
    let sum = product_norm(b.clone(), a.clone());
    let b = b
        .scale(-1.0)
        .beside(&Matrix::from_rows(&factors.b, factors.rank));
    let error = product_norm(
        b,
        a.beside(&Matrix::from_columns(&factors.a, module.in_features)),
    );
    Ok((factors, Deviation { path, sum, error }))
}

/// Σ wᵢ·sᵢ·Bᵢ·Aᵢ as one B (out, Σ rᵢ) and one Aᵀ (in, Σ rᵢ).
fn sum_factors(terms: &[Term], module: &Module) -> (Matrix, Matrix) {
    let empty = (
        Matrix::zeros(module.out_features, 0),
        Matrix::zeros(module.in_features, 0),
    );
    terms.iter().fold(empty, |(b, a), term| {
        let own = Matrix::from_rows(term.b, term.rank).scale(term.weight);
        (
            b.beside(&own),
            a.beside(&Matrix::from_columns(term.a, module.in_features)),
        )
    })
}

/// The factors side by side, the weights in B.
fn cat(terms: &[Term], module: &Module) -> Factors {
    let rank = terms.iter().map(|term| term.rank).sum();
    let a = terms.iter().flat_map(|term| term.a).copied().collect();
    let mut b = Vec::with_capacity(rank * module.out_features);
    for row in 0..module.out_features {
        for term in terms {
            let values = &term.b[row * term.rank..(row + 1) * term.rank];
            b.extend(values.iter().map(|&x| (term.weight * f64::from(x)) as f32));
        }
    }
    Factors { a, b, rank }
}

/// The `rank` largest singular values: A = Vᵀ, B = U·Σ. Also ‖sum‖ and ‖what was cut off‖.
fn truncated(b: Matrix, a_transposed: Matrix, rank: usize) -> (Factors, f64, f64) {
    let svd = singular(b, a_transposed);
    let kept = rank.min(svd.values.len());
    let norm = |values: &[f64]| values.iter().map(|s| s * s).sum::<f64>().sqrt();
    let (sum, error) = (norm(&svd.values), norm(&svd.values[kept..]));
    let a = (0..kept)
        .flat_map(|i| svd.right.column(i))
        .map(|&x| x as f32)
        .collect();
    let out = svd.scaled_left.column(0).len();
    let b = (0..out).flat_map(|row| (0..kept).map(move |i| (row, i)));
    let b = b
        .map(|(row, i)| svd.scaled_left.column(i)[row] as f32)
        .collect();
    (Factors { a, b, rank: kept }, sum, error)
}
