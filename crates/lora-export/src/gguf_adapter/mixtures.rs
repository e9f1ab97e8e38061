//! Factors of modules of which llama.cpp has several weights: in a GGUF LoRA each has its own, those of all experts in one tensor.
//! PEFT has gate and up in one with one A.
use super::factors::{Factors, check, pair};
use lora_checkpoint::gguf::{self, GgufFile};
use lora_checkpoint::{ModelConfig, TensorView};
use lora_cli::{Error, Result};
use lora_core::{Module, ModuleKind, TargetedModule};
use lora_model::spec::parts_in;
use std::collections::BTreeSet;
use std::ops::Range;

/// A tensor's name in GGUF, and its rows in the module.
type Parts = [(String, Range<usize>)];

/// Those of a module that has several.
type Split = Option<Vec<(String, Range<usize>)>>;

/// Name, shape (the fastest dimension last) and values of a tensor.
type Tensor = (String, Vec<usize>, Vec<f32>);

/// The tensors of a module in GGUF, if it is a mixture's parameter or llama.cpp has it in two.
pub(super) fn parts(config: &ModelConfig, path: &str) -> Result<Split> {
    if let Some(own) = parts_in(config, path) {
        let named = |(weight, rows): (String, Range<usize>)| Ok((target(config, &weight)?, rows));
        return own.into_iter().map(named).collect::<Result<_>>().map(Some);
    }
    let own = gguf::tensors_of(config, &format!("{path}.weight"));
    Ok(own.filter(|tensors| tensors.len() > 1))
}

/// The tensors of a module: A and B of each of its weights, A the same for gate and up.
pub(super) fn factors(
    module: &TargetedModule,
    (a, b): (&[f32], &[f32]),
    parts: &Parts,
) -> Vec<Tensor> {
    let (rank, inn) = (module.rank, module.in_features);
    let mut all = Vec::with_capacity(2 * parts.len());
    for (target, rows) in parts {
        let own = b.chunks_exact(module.out_features * rank);
        let own = own.flat_map(|b| &b[rows.start * rank..rows.end * rank]);
        let shape = |out: usize, columns: usize| match module.experts() {
            Some(experts) => vec![experts, out, columns],
            None => vec![out, columns],
        };
        all.push((format!("{target}.lora_a"), shape(rank, inn), a.to_vec()));
        let b = own.copied().collect();
        all.push((format!("{target}.lora_b"), shape(rows.len(), rank), b));
    }
    all
}

fn target(config: &ModelConfig, weight: &str) -> Result<String> {
    gguf::tensor_name(config, weight)
        .ok_or_else(|| Error::new(format!("GGUF has no name for {weight}")))
}

/// The factors of a parameter, if the file has any of it. Gate and up with one A have it in common; else theirs stand one
/// behind the other, and B has zeros where one has nothing to do with the other. `alpha` is the file's.
pub(super) fn read<'m>(
    file: &GgufFile,
    (module, parts): (&'m Module, &Parts),
    alpha: f64,
    left: &mut BTreeSet<&str>,
) -> Result<Option<Factors<'m>>> {
    let experts = match module.kind {
        ModuleKind::Experts { count, .. } => Some(count),
        _ => None,
    };
    let count = experts.unwrap_or(1);
    let mut own = Vec::new();
    for (target, rows) in parts {
        let Some((a, b)) = pair(file, target, left)? else {
            continue;
        };
        own.push(Part::of((&a, &b), (experts, module.in_features), rows)?);
    }
    let Some(first) = own.first() else {
        return Ok(None);
    };
    let shares = own
        .iter()
        .all(|part| part.rank == first.rank && part.a == first.a);
    let rank = match shares {
        true => first.rank,
        false => own.iter().map(|part| part.rank).sum(),
    };
    let (inn, out) = (module.in_features, module.out_features);
    let (mut a, mut b) = (Vec::new(), vec![0.0; count * out * rank]);
    for expert in 0..count {
        let mut column = 0;
        for (place, part) in own.iter().enumerate() {
            if !shares || place == 0 {
                a.extend_from_slice(&part.a[expert * part.rank * inn..][..part.rank * inn]);
            }
            // alpha ÷ rank is what the file scales by, and this rank may be another.
            let scale = if alpha == 0.0 {
                1.0
            } else {
                rank as f32 / part.rank as f32
            };
            let rows = part.b[expert * part.rows.len() * part.rank..].chunks_exact(part.rank);
            for (row, values) in part.rows.clone().zip(rows) {
                let to = &mut b[(expert * out + row) * rank + column..][..part.rank];
                to.iter_mut()
                    .zip(values)
                    .for_each(|(to, v)| *to = scale * v);
            }
            if !shares {
                column += part.rank;
            }
        }
    }
    Ok(Some(Factors { module, rank, a, b }))
}

/// The factors of one weight.
struct Part<'p> {
    rank: usize,
    /// (experts, rank, in) and (experts, rows, rank).
    a: Vec<f32>,
    b: Vec<f32>,
    rows: &'p Range<usize>,
}

impl<'p> Part<'p> {
    fn of(
        (a, b): (&TensorView<'_>, &TensorView<'_>),
        (experts, inn): (Option<usize>, usize),
        rows: &'p Range<usize>,
    ) -> Result<Self> {
        let rank = b.columns();
        if rank == 0 {
            return Err(Error::new(format!("tensor {} is of rank 0", b.name())));
        }
        let shape = |out: usize, columns: usize| match experts {
            Some(experts) => vec![experts, out, columns],
            None => vec![out, columns],
        };
        check(a, &shape(rank, inn))?;
        check(b, &shape(rows.len(), rank))?;
        Ok(Self {
            rank,
            a: a.to_f32(),
            b: b.to_f32(),
            rows,
        })
    }
}
