//! DoRA's arithmetic (Liu et al. 2024): norms of W + s·B·A without forming it, and the gain of each output.
use crate::lora::Lora;
use crate::matmul::matmul;
use crate::matrix::{Place, Write};
use crate::rows::Rows;
use rayon::prelude::*;

/// Outputs that one thread takes at once.
const OUTPUTS: usize = 64;

/// Σ W² of each row of W (rows, columns), in f64.
#[must_use]
pub fn row_squares(w: &dyn Rows) -> Vec<f64> {
    let columns = w.columns();
    let mut squares = vec![0.0; w.rows()];
    squares.par_chunks_mut(OUTPUTS).enumerate().for_each_init(
        || vec![0f32; columns],
        |row, (chunk, squares)| {
            for (i, square) in squares.iter_mut().enumerate() {
                w.read_rows(chunk * OUTPUTS + i, row);
                *square = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            }
        },
    );
    squares
}

/// Σ W² of each column of W (rows, columns), in f64.
#[must_use]
pub fn column_squares(w: &dyn Rows) -> Vec<f64> {
    let mut squares = vec![0.0; w.columns()];
    let mut row = vec![0f32; w.columns()];
    for i in 0..w.rows() {
        w.read_rows(i, &mut row);
        squares
            .iter_mut()
            .zip(&row)
            .for_each(|(sum, &v)| *sum += f64::from(v) * f64::from(v));
    }
    squares
}

/// ‖W + s·B·A‖ of each output (out) from `squares`, Σ W² of each, and `projected`, A·Wᵀ of shape (r, out):
/// ‖w + s·bA‖² = ‖w‖² + 2s·b·(Aw) + s²·b(AAᵀ)bᵀ.
#[must_use]
pub fn norms(lora: &Lora<'_>, squares: &[f64], projected: &[f32]) -> Vec<f32> {
    let rank = lora.rank();
    let mut gram = vec![0f32; rank * rank];
    matmul(lora.a, lora.a.t(), 1.0, Place::new(&mut gram, rank, rank));
    let scaling = f64::from(lora.scaling);
    let square_of = |output: usize| -> f64 {
        let b = &lora.b.values()[output * rank..(output + 1) * rank];
        let mut square = squares[output];
        for (j, &x) in b.iter().enumerate() {
            let inner: f64 = b
                .iter()
                .zip(&gram[j * rank..(j + 1) * rank])
                .map(|(&y, &g)| f64::from(y) * f64::from(g))
                .sum();
            let along = f64::from(projected[j * squares.len() + output]);
            square += scaling * f64::from(x) * (2.0 * along + scaling * inner);
        }
        square
    };
    let mut norms = vec![0f32; squares.len()];
    norms
        .par_chunks_mut(OUTPUTS)
        .enumerate()
        .for_each(|(chunk, norms)| {
            for (i, norm) in norms.iter_mut().enumerate() {
                *norm = square_of(chunk * OUTPUTS + i).max(0.0).sqrt() as f32;
            }
        });
    norms
}

/// y (T, out) = g∘z, for each row of z (T, out).
pub fn scale(z: &[f32], gain: &[f32], y: Place<'_>) {
    let write = y.write();
    y.into_values()
        .par_chunks_mut(gain.len())
        .zip(z.par_chunks(gain.len()))
        .for_each(|(y, z)| {
            for ((y, &z), &g) in y.iter_mut().zip(z).zip(gain) {
                *y = match write {
                    Write::Replace => g * z,
                    Write::Add => *y + g * z,
                };
            }
        });
}

/// dm += Σ_t dy∘z / norm: the gradient of the magnitude m of y = (m / norm)∘z, the norm being a constant. A magnitude whose
/// norm is 0 gets none.
pub fn magnitude_gradient(dy: &[f32], z: &[f32], norms: &[f32], dm: &mut [f32]) {
    sum_rows(dm, dy.len() / norms.len().max(1), |row, first, part| {
        let at = row * norms.len() + first;
        for (i, sum) in part.iter_mut().enumerate() {
            let norm = norms[first + i];
            *sum += if norm > 0.0 {
                dy[at + i] * z[at + i] / norm
            } else {
                0.0
            };
        }
    });
}

/// db += factor · Σ_t dy: the gradient of a bias. dy is (T, out).
pub fn bias_gradient(dy: &[f32], factor: f32, db: &mut [f32]) {
    let out = db.len();
    sum_rows(db, dy.len() / out.max(1), |row, first, part| {
        for (sum, &d) in part.iter_mut().zip(&dy[row * out + first..]) {
            *sum += factor * d;
        }
    });
}

/// Calls `add(row, first, part)` for every row in order and every part of `sums`: threads split the parts, never a sum.
pub(crate) fn sum_rows(
    sums: &mut [f32],
    rows: usize,
    add: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    sums.par_chunks_mut(OUTPUTS)
        .enumerate()
        .for_each(|(chunk, part)| {
            for row in 0..rows {
                add(row, chunk * OUTPUTS, part);
            }
        });
}
