//! RMSNorm with weight γ, times SiLU of a gate: y = γ∘x/√(mean(x²) + ε)∘silu(z).
use crate::dispatch::vectorised;
use crate::vector::{dot, sigmoid};
use rayon::prelude::*;

/// Rows handed to a thread at once.
const ROWS: usize = 32;

/// y of x and z, all (rows, width of γ); `rstd` gets 1/√(…) of each row.
pub fn forward(x: &[f32], z: &[f32], gamma: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    let h = gamma.len();
    rstd.par_chunks_mut(ROWS)
        .zip(x.par_chunks(h * ROWS))
        .for_each(|(rstd, x)| {
            for (r, x) in rstd.iter_mut().zip(x.chunks_exact(h)) {
                *r = 1.0 / (dot(x, x) / h as f32 + eps).sqrt();
            }
        });
    recompute(x, z, gamma, rstd, y);
}

/// y again, from the saved `rstd`: bit for bit what [`forward`] wrote.
pub fn recompute(x: &[f32], z: &[f32], gamma: &[f32], rstd: &[f32], y: &mut [f32]) {
    let h = gamma.len();
    let inputs = x.par_chunks(h).zip(z.par_chunks(h)).zip(rstd);
    y.par_chunks_mut(h)
        .zip(inputs)
        .with_min_len(ROWS)
        .for_each(|(y, ((x, z), &r))| forward_row(x, z, gamma, r, y));
}

/// dx and dz of dy, which is used as scratch.
pub fn backward(
    x: &[f32],
    z: &[f32],
    gamma: &[f32],
    rstd: &[f32],
    dy: &mut [f32],
    dx: &mut [f32],
    dz: &mut [f32],
) {
    let h = gamma.len();
    let inputs = x.par_chunks(h).zip(z.par_chunks(h)).zip(rstd);
    let outputs = dy.par_chunks_mut(h).zip(dx.par_chunks_mut(h));
    outputs
        .zip(dz.par_chunks_mut(h))
        .zip(inputs)
        .with_min_len(ROWS)
        .for_each(|(((dy, dx), dz), ((x, z), &r))| backward_row(x, z, gamma, r, dy, dx, dz));
}

vectorised! {
    fn forward_row(x: &[f32], z: &[f32], gamma: &[f32], rstd: f32, y: &mut [f32]) {
        for (((y, &x), &z), &g) in y.iter_mut().zip(x).zip(z).zip(gamma) {
            *y = g * (x * rstd) * (z * sigmoid(z));
        }
    }
}

vectorised! {
    fn backward_row(x: &[f32], z: &[f32], gamma: &[f32], rstd: f32, dy: &mut [f32], dx: &mut [f32], dz: &mut [f32]) {
        for ((((dz, dy), &x), &z), &g) in dz.iter_mut().zip(dy.iter_mut()).zip(x).zip(z).zip(gamma) {
            let s = sigmoid(z);
            *dz = *dy * g * (x * rstd) * (s + z * s * (1.0 - s));
            *dy *= g * (z * s);
        }
        let mean = dot(dy, x) / gamma.len() as f32 * rstd * rstd;
        for ((dx, &d), &x) in dx.iter_mut().zip(&*dy).zip(x) {
            *dx = rstd * (d - x * mean);
        }
    }
}
