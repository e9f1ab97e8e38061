//! The merge: W' = W + s·B·A, with DoRA (m/‖W + s·B·A‖)·(W + s·B·A), rows at a time.
use crate::adapter::Adapter;
use crate::layout::TargetedModule;
use crate::values::zeros;
use crate::{BaseModel, Error};

/// Values of the base that are read at once.
const BLOCK_VALUES: usize = 1 << 20;

/// Adds s·B·A to rows `first..` of W in f32 (the caller rounds once): `rows` holds whole rows of W, (n, in) row-major;
/// `a` is (rank, in), `b` is (out, rank). The delta of an element is summed over the rank first, then scaled, then added
/// (PEFT's `get_delta_weight`).
///
/// # Panics
/// If `rank` is 0, or the rows lie outside of B.
pub fn add_delta(rows: &mut [f32], first: usize, a: &[f32], b: &[f32], rank: usize, scaling: f32) {
    let in_features = a.len() / rank;
    let mut delta = vec![0f32; in_features];
    for (i, row) in rows.chunks_exact_mut(in_features).enumerate() {
        let weights = &b[(first + i) * rank..(first + i + 1) * rank];
        delta.fill(0.0);
        for (&w, a_row) in weights.iter().zip(a.chunks_exact(in_features)) {
            for (d, &x) in delta.iter_mut().zip(a_row) {
                *d += w * x;
            }
        }
        for (y, &d) in row.iter_mut().zip(&delta) {
            *y += scaling * d;
        }
    }
}

/// The same for an embedding: `rows` holds whole rows of E, (n, width); `a` is (rank, vocabulary), `b` is (width, rank).
///
/// # Panics
/// If `rank` is 0, or the rows lie outside of A.
pub fn add_embedding_delta(
    rows: &mut [f32],
    first: usize,
    a: &[f32],
    b: &[f32],
    rank: usize,
    scaling: f32,
) {
    let (vocabulary, width) = (a.len() / rank, b.len() / rank);
    for (i, row) in rows.chunks_exact_mut(width).enumerate() {
        for (y, weights) in row.iter_mut().zip(b.chunks_exact(rank)) {
            let sum: f32 = weights
                .iter()
                .enumerate()
                .map(|(j, w)| w * a[j * vocabulary + first + i])
                .sum();
            *y += scaling * sum;
        }
    }
}

impl TargetedModule {
    /// Adds s·B·A to rows `first..` of the base's weight, linear or embedding.
    pub fn add_delta(&self, rows: &mut [f32], first: usize, (a, b): (&[f32], &[f32])) {
        if self.is_embedding() {
            add_embedding_delta(rows, first, a, b, self.rank, self.scaling);
        } else {
            add_delta(rows, first, a, b, self.rank, self.scaling);
        }
    }
}

/// ‖W + s·B·A‖ of each output (out): over the rows of a linear layer's weight, over the columns of an embedding (DoRA, Liu et
/// al. 2024, eq. 5; PEFT's `get_weight_norm`). W lacks the s·B·A of `origin`, if there is one. The weight is read a block of
/// rows at a time.
///
/// # Errors
/// If the weight can't be read.
pub fn weight_norms(
    base: &impl BaseModel,
    module: &TargetedModule,
    factors: (&[f32], &[f32]),
    origin: Option<(&[f32], &[f32])>,
) -> Result<Vec<f32>, Error> {
    let taken_out = TargetedModule {
        scaling: -module.scaling,
        ..module.clone()
    };
    let [rows, columns] = module.weight_shape();
    let block = (BLOCK_VALUES / columns.max(1)).clamp(1, rows.max(1));
    let mut values = zeros(block * columns)?;
    let mut squares = vec![0f64; module.out_features];
    let tensor = format!("{}.weight", module.path);
    for first in (0..rows).step_by(block) {
        let values = &mut values[..block.min(rows - first) * columns];
        base.read(&tensor, first * columns, values)?;
        origin
            .into_iter()
            .for_each(|origin| taken_out.add_delta(values, first, origin));
        module.add_delta(values, first, factors);
        for (i, row) in values.chunks_exact(columns).enumerate() {
            if module.is_embedding() {
                squares
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, &v)| *sum += f64::from(v) * f64::from(v));
            } else {
                squares[first + i] = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            }
        }
    }
    Ok(squares
        .into_iter()
        .map(|square| square.sqrt() as f32)
        .collect())
}

impl Adapter {
    /// DoRA's factor m/‖W + s·B·A‖ of each output of a module; None without DoRA.
    ///
    /// # Errors
    /// If the base's weight can't be read.
    pub fn dora_gains(
        &self,
        base: &impl BaseModel,
        index: usize,
    ) -> Result<Option<Vec<f32>>, Error> {
        let module = &self.modules[index];
        let Some(magnitude) = &module.magnitude else {
            return Ok(None);
        };
        let norms = weight_norms(
            base,
            module,
            self.factors(index),
            self.origin_factors(index),
        )?;
        Ok(Some(
            self.params[magnitude.clone()]
                .iter()
                .zip(norms)
                .map(|(m, norm)| m / norm)
                .collect(),
        ))
    }
}
