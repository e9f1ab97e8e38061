//! LayerNorm (Ba, Kiros and Hinton 2016) with weight γ, and with a bias or without.
use crate::dispatch::vectorised;
use crate::vector::{centred_dot, dot, sum};
use rayon::prelude::*;

/// Rows handed to a thread at once.
const ROWS: usize = 16;

/// What normalised rows are multiplied by, and what is added: both (H).
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// γ.
    pub gamma: &'a [f32],
    /// The bias, if there is one.
    pub bias: Option<&'a [f32]>,
}

/// y = γ·(x − mean)/√(var + ε) + bias row by row; `rstd` gets 1/√(…) of each row. x and y are (T, H). The variance is the
/// mean of squares about the mean.
pub fn forward(x: &[f32], affine: Affine<'_>, eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    let h = affine.gamma.len();
    y.par_chunks_mut(h * ROWS)
        .zip(rstd.par_chunks_mut(ROWS))
        .zip(x.par_chunks(h * ROWS))
        .for_each(|((y, rstd), x)| {
            for ((y, r), x) in y.chunks_exact_mut(h).zip(rstd).zip(x.chunks_exact(h)) {
                let mean = mean(x);
                centre_row(x, mean, y);
                *r = 1.0 / (dot(y, y) / h as f32 + eps).sqrt();
                scale_row(x, affine, mean, *r, y);
            }
        });
}

/// The normalised rows again, from the saved `rstd`: bit for bit what [`forward`] wrote.
pub fn recompute(x: &[f32], affine: Affine<'_>, rstd: &[f32], y: &mut [f32]) {
    let h = affine.gamma.len();
    y.par_chunks_mut(h * ROWS)
        .zip(rstd.par_chunks(ROWS))
        .zip(x.par_chunks(h * ROWS))
        .for_each(|((y, rstd), x)| {
            for ((y, &r), x) in y.chunks_exact_mut(h).zip(rstd).zip(x.chunks_exact(h)) {
                scale_row(x, affine, mean(x), r, y);
            }
        });
}

fn mean(x: &[f32]) -> f32 {
    sum(x) / x.len() as f32
}

vectorised! {
    fn centre_row(x: &[f32], mean: f32, y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x - mean;
        }
    }
}

vectorised! {
    fn scale_row(x: &[f32], affine: Affine<'_>, mean: f32, rstd: f32, y: &mut [f32]) {
        for ((y, &x), &g) in y.iter_mut().zip(x).zip(affine.gamma) {
            *y = g * ((x - mean) * rstd);
        }
        for (y, &b) in y.iter_mut().zip(affine.bias.unwrap_or_default()) {
            *y += b;
        }
    }
}

/// dx += rstd·(γ∘dy − mean(γ∘dy) − x̂·mean(γ∘dy∘x̂)), x̂ = (x − mean)·rstd, row by row. `dy` is used as scratch.
pub fn backward(x: &[f32], gamma: &[f32], rstd: &[f32], dy: &mut [f32], dx: &mut [f32]) {
    let h = gamma.len();
    dx.par_chunks_mut(h * ROWS)
        .zip(dy.par_chunks_mut(h * ROWS))
        .zip(rstd.par_chunks(ROWS))
        .zip(x.par_chunks(h * ROWS))
        .for_each(|(((dx, dy), rstd), x)| {
            for (((dx, dy), &r), x) in dx
                .chunks_exact_mut(h)
                .zip(dy.chunks_exact_mut(h))
                .zip(rstd)
                .zip(x.chunks_exact(h))
            {
                backward_row(x, gamma, mean(x), r, dy, dx);
            }
        });
}

vectorised! {
    fn backward_row(x: &[f32], gamma: &[f32], mean: f32, rstd: f32, dy: &mut [f32], dx: &mut [f32]) {
        for (d, &g) in dy.iter_mut().zip(gamma) {
            *d *= g;
        }
        let h = gamma.len() as f32;
        let shift = sum(dy) / h;
        let slope = centred_dot(dy, x, mean) / h * rstd * rstd;
        for ((dx, &d), &x) in dx.iter_mut().zip(&*dy).zip(x) {
            *dx += rstd * (d - shift - (x - mean) * slope);
        }
    }
}

/// dγ += Σ_t dy∘x̂: the gradient of a norm's weight. That of its bias is Σ_t dy (see [`crate::dora::bias_gradient`]).
pub fn weight_gradient(x: &[f32], rstd: &[f32], dy: &[f32], d_gamma: &mut [f32]) {
    let h = d_gamma.len();
    let means: Vec<f32> = x.par_chunks(h).map(mean).collect();
    crate::dora::sum_rows(d_gamma, rstd.len(), |row, first, part| {
        let at = row * h + first;
        for (i, sum) in part.iter_mut().enumerate() {
            *sum += dy[at + i] * (x[at + i] - means[row]) * rstd[row];
        }
    });
}
