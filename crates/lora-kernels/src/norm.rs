//! RMSNorm (Zhang and Sennrich 2019) with weight γ.
use crate::dispatch::vectorised;
use crate::vector::dot;
use rayon::prelude::*;

/// Rows handed to a thread at once.
const ROWS: usize = 16;

/// y = γ·x/√(mean(x²) + ε) row by row; `rstd` gets 1/√(…) of each row. x and y are (T, H), γ is (H).
pub fn forward(x: &[f32], gamma: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    let h = gamma.len();
    y.par_chunks_mut(h * ROWS)
        .zip(rstd.par_chunks_mut(ROWS))
        .zip(x.par_chunks(h * ROWS))
        .for_each(|((y, rstd), x)| {
            for ((y, r), x) in y.chunks_exact_mut(h).zip(rstd).zip(x.chunks_exact(h)) {
                *r = 1.0 / (dot(x, x) / h as f32 + eps).sqrt();
                scale_row(x, gamma, *r, y);
            }
        });
}

/// The normalised rows again, from the saved `rstd`: bit for bit what [`forward`] wrote.
pub fn recompute(x: &[f32], gamma: &[f32], rstd: &[f32], y: &mut [f32]) {
    let h = gamma.len();
    y.par_chunks_mut(h * ROWS)
        .zip(rstd.par_chunks(ROWS))
        .zip(x.par_chunks(h * ROWS))
        .for_each(|((y, rstd), x)| {
            for ((y, &r), x) in y.chunks_exact_mut(h).zip(rstd).zip(x.chunks_exact(h)) {
                scale_row(x, gamma, r, y);
            }
        });
}

vectorised! {
    fn scale_row(x: &[f32], gamma: &[f32], rstd: f32, y: &mut [f32]) {
        for ((y, &x), &g) in y.iter_mut().zip(x).zip(gamma) {
            *y = g * (x * rstd);
        }
    }
}

/// dx += rstd·(γ∘dy − x·rstd²·mean(γ∘dy∘x)), row by row. `dy` is used as scratch.
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
                backward_row(x, gamma, r, dy, dx);
            }
        });
}

vectorised! {
    fn backward_row(x: &[f32], gamma: &[f32], rstd: f32, dy: &mut [f32], dx: &mut [f32]) {
        for (d, &g) in dy.iter_mut().zip(gamma) {
            *d *= g;
        }
        let mean = dot(dy, x) / gamma.len() as f32 * rstd * rstd;
        for ((dx, &d), &x) in dx.iter_mut().zip(&*dy).zip(x) {
            *dx += rstd * (d - x * mean);
        }
    }
}

/// dγ += Σ_t dy∘x·rstd: the gradient of a norm's weight.
pub fn weight_gradient(x: &[f32], rstd: &[f32], dy: &[f32], d_gamma: &mut [f32]) {
    let h = d_gamma.len();
    crate::dora::sum_rows(d_gamma, rstd.len(), |row, first, part| {
        let at = row * h + first;
        for (i, sum) in part.iter_mut().enumerate() {
            *sum += dy[at + i] * x[at + i] * rstd[row];
        }
    });
}
