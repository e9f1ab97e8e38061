//! OLoRA's truncated QR of a whole weight.
use super::eigen::dot;

/// OLoRA: A = the first `rank` rows of R, B = the first `rank` columns of Q, W = Q·R (PEFT's `olora_init`), by Householder
/// reflections with LAPACK's signs.
pub(crate) fn olora(w: &[f32], out: usize, inn: usize, rank: usize) -> (Vec<f32>, Vec<f32>) {
    let mut r: Vec<f64> = w.iter().map(|&v| f64::from(v)).collect();
    let mut reflectors = Vec::with_capacity(rank);
    for k in 0..rank {
        let mut v: Vec<f64> = (k..out).map(|i| r[i * inn + k]).collect();
        let below = dot(&v[1..], &v[1..]);
        if below > 0.0 {
            let norm = (v[0] * v[0] + below).sqrt();
            v[0] += if v[0] >= 0.0 { norm } else { -norm };
            let length = dot(&v, &v).sqrt();
            v.iter_mut().for_each(|x| *x /= length);
            reflect_rows(&mut r, inn, k, k, &v);
        } else {
            v.fill(0.0);
        }
        reflectors.push(v);
    }
    let mut q = vec![0f64; out * rank];
    q.iter_mut()
        .step_by(rank + 1)
        .take(rank)
        .for_each(|x| *x = 1.0);
    for (k, v) in reflectors.iter().enumerate().rev() {
        reflect_rows(&mut q, rank, k, 0, v);
    }
    let upper = |i: usize| if i % inn < i / inn { 0.0 } else { r[i] as f32 };
    (
        (0..rank * inn).map(upper).collect(),
        q.iter().map(|&x| x as f32).collect(),
    )
}

/// M ← (I − 2vvᵀ)·M on rows `first..` and columns `from..` of M.
fn reflect_rows(m: &mut [f64], columns: usize, first: usize, from: usize, v: &[f64]) {
    let mut share = vec![0f64; columns - from];
    for (i, &vi) in v.iter().enumerate() {
        let row = &m[(first + i) * columns + from..(first + i + 1) * columns];
        share.iter_mut().zip(row).for_each(|(s, x)| *s += vi * x);
    }
    for (i, &vi) in v.iter().enumerate() {
        let row = &mut m[(first + i) * columns + from..(first + i + 1) * columns];
        row.iter_mut()
            .zip(&share)
            .for_each(|(x, s)| *x -= 2.0 * vi * s);
    }
}
