//! RMSNorm behind a gate, group by group: y = γ∘u/√(mean(u²) + ε) with u = x∘silu(z), the mean over each of the groups into
//! which the columns fall. Or before it: y = γ∘x/√(mean(x²) + ε)∘silu(z).
use crate::dispatch::vectorised;
use crate::vector::{dot, sigmoid};
use rayon::prelude::*;

/// Rows handed to a thread at once.
const ROWS: usize = 32;

/// γ and how many groups its columns fall into.
#[derive(Debug, Clone, Copy)]
pub struct Gamma<'a> {
    /// γ.
    pub values: &'a [f32],
    /// Groups.
    pub groups: usize,
    /// Whether the norm stands behind the gate, else before it.
    pub behind_gate: bool,
}

impl Gamma<'_> {
    fn width(self) -> usize {
        self.values.len() / self.groups
    }
}

/// y of x and z, all (rows, width of γ); `rstd` (rows, groups) gets 1/√(…).
pub fn forward(x: &[f32], z: &[f32], gamma: Gamma<'_>, eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    let (h, width) = (gamma.values.len(), gamma.width());
    rstd.par_chunks_mut(gamma.groups)
        .zip(y.par_chunks_mut(h))
        .zip(x.par_chunks(h).zip(z.par_chunks(h)))
        .with_min_len(ROWS)
        .for_each(|((rstd, y), (x, z))| {
            match gamma.behind_gate {
                true => gate(x, z, y),
                false => y.copy_from_slice(x),
            }
            for (r, u) in rstd.iter_mut().zip(y.chunks_exact(width)) {
                *r = 1.0 / (dot(u, u) / width as f32 + eps).sqrt();
            }
            normalise(gamma, rstd, z, y);
        });
}

/// y again, from the saved `rstd`: bit for bit what [`forward`] wrote.
pub fn recompute(x: &[f32], z: &[f32], gamma: Gamma<'_>, rstd: &[f32], y: &mut [f32]) {
    let h = gamma.values.len();
    y.par_chunks_mut(h)
        .zip(rstd.par_chunks(gamma.groups))
        .zip(x.par_chunks(h).zip(z.par_chunks(h)))
        .with_min_len(ROWS)
        .for_each(|((y, rstd), (x, z))| {
            match gamma.behind_gate {
                true => gate(x, z, y),
                false => y.copy_from_slice(x),
            }
            normalise(gamma, rstd, z, y);
        });
}

/// dx and dz of dy, which is used as scratch.
pub fn backward(
    x: &[f32],
    z: &[f32],
    gamma: Gamma<'_>,
    rstd: &[f32],
    dy: &mut [f32],
    dx: &mut [f32],
    dz: &mut [f32],
) {
    let (h, width) = (gamma.values.len(), gamma.width());
    let inputs = x.par_chunks(h).zip(z.par_chunks(h));
    let outputs = dy.par_chunks_mut(h).zip(dx.par_chunks_mut(h));
    outputs
        .zip(dz.par_chunks_mut(h))
        .zip(inputs.zip(rstd.par_chunks(gamma.groups)))
        .with_min_len(ROWS)
        .for_each(|(((dy, dx), dz), ((x, z), rstd))| {
            for (group, &r) in rstd.iter().enumerate() {
                let own = group * width..(group + 1) * width;
                let backward = match gamma.behind_gate {
                    true => backward_group,
                    false => backward_before,
                };
                backward(
                    [&x[own.clone()], &z[own.clone()], &gamma.values[own.clone()]],
                    r,
                    &mut dy[own.clone()],
                    &mut dx[own.clone()],
                    &mut dz[own],
                );
            }
        });
}

/// The norm of u, and behind it the gate if it stands there.
fn normalise(gamma: Gamma<'_>, rstd: &[f32], z: &[f32], u: &mut [f32]) {
    let width = gamma.width();
    let groups = u
        .chunks_exact_mut(width)
        .zip(gamma.values.chunks_exact(width));
    for ((u, gamma), &r) in groups.zip(rstd) {
        scale(u, gamma, r);
    }
    if !gamma.behind_gate {
        gate_in_place(z, u);
    }
}

vectorised! {
    fn gate(x: &[f32], z: &[f32], u: &mut [f32]) {
        for ((u, &x), &z) in u.iter_mut().zip(x).zip(z) {
            *u = x * (z * sigmoid(z));
        }
    }
}

vectorised! {
    fn gate_in_place(z: &[f32], u: &mut [f32]) {
        for (u, &z) in u.iter_mut().zip(z) {
            *u *= z * sigmoid(z);
        }
    }
}

vectorised! {
    fn scale(u: &mut [f32], gamma: &[f32], rstd: f32) {
        for (u, &g) in u.iter_mut().zip(gamma) {
            *u = g * (*u * rstd);
        }
    }
}

vectorised! {
    fn backward_group(inputs: [&[f32]; 3], rstd: f32, dy: &mut [f32], dx: &mut [f32], dz: &mut [f32]) {
        let [x, z, gamma] = inputs;
        // dx holds u for a while.
        for (((dx, dy), (&x, &z)), &g) in dx.iter_mut().zip(dy.iter_mut()).zip(x.iter().zip(z)).zip(gamma) {
            *dx = x * (z * sigmoid(z));
            *dy *= g;
        }
        let mean = dot(dy, dx) / gamma.len() as f32 * rstd * rstd;
        for (((dx, dz), &d), (&x, &z)) in dx.iter_mut().zip(dz).zip(&*dy).zip(x.iter().zip(z)) {
            let s = sigmoid(z);
            let du = rstd * (d - *dx * mean);
            *dz = du * x * (s + z * s * (1.0 - s));
            *dx = du * (z * s);
        }
    }
}

vectorised! {
    fn backward_before(inputs: [&[f32]; 3], rstd: f32, dy: &mut [f32], dx: &mut [f32], dz: &mut [f32]) {
        let [x, z, gamma] = inputs;
        for (((dz, dy), (&x, &z)), &g) in dz.iter_mut().zip(dy.iter_mut()).zip(x.iter().zip(z)).zip(gamma) {
            let s = sigmoid(z);
            *dy *= g;
            *dz = *dy * (x * rstd) * (s + z * s * (1.0 - s));
            *dy *= z * s;
        }
        let mean = dot(dy, x) / gamma.len() as f32 * rstd * rstd;
        for ((dx, &d), &x) in dx.iter_mut().zip(&*dy).zip(x) {
            *dx = rstd * (d - x * mean);
        }
    }
}
