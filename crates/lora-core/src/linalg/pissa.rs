//! PiSSA's truncated SVD of a whole weight.
use super::eigen::{dot, eigen};

/// PiSSA: (A, B) with s·B·A the best approximation of W (out, in) of this rank. A = √(S/s)·Vᵀ, B = U·√(S/s) (PEFT's
/// `pissa_init`). The singular vectors are eigenvectors of WᵀW or WWᵀ, whichever is smaller; one sign is arbitrary, as in
/// every SVD.
pub(crate) fn pissa(
    w: &[f32],
    out: usize,
    inn: usize,
    rank: usize,
    scaling: f32,
) -> (Vec<f32>, Vec<f32>) {
    let by_columns = inn <= out;
    let n = out.min(inn);
    let mut vectors = if by_columns {
        column_gram(w, inn)
    } else {
        row_gram(w, inn)
    };
    let values = eigen(&mut vectors, n);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
    let (mut a, mut b) = (vec![0f32; rank * inn], vec![0f32; out * rank]);
    for (k, &column) in order.iter().take(rank).enumerate() {
        let singular = values[column].max(0.0).sqrt();
        let (root, inverse) = (
            (singular / f64::from(scaling)).sqrt(),
            if singular > 0.0 { 1.0 / singular } else { 0.0 },
        );
        let vector: Vec<f64> = (0..n).map(|i| vectors[i * n + column]).collect();
        let other = if by_columns {
            times(w, inn, &vector)
        } else {
            transposed_times(w, inn, &vector)
        };
        let (u, v) = if by_columns {
            (other, vector)
        } else {
            (vector, other)
        };
        let (u_scale, v_scale) = if by_columns {
            (root * inverse, root)
        } else {
            (root, root * inverse)
        };
        a[k * inn..(k + 1) * inn]
            .iter_mut()
            .zip(&v)
            .for_each(|(a, v)| *a = (v * v_scale) as f32);
        b.chunks_exact_mut(rank)
            .zip(&u)
            .for_each(|(b, u)| b[k] = (u * u_scale) as f32);
    }
    (a, b)
}

/// WᵀW, (in, in).
fn column_gram(w: &[f32], n: usize) -> Vec<f64> {
    let mut gram = vec![0f64; n * n];
    let mut wide = vec![0f64; n];
    for row in w.chunks_exact(n) {
        wide.iter_mut()
            .zip(row)
            .for_each(|(x, &v)| *x = f64::from(v));
        for i in 0..n {
            let x = wide[i];
            gram[i * n + i..(i + 1) * n]
                .iter_mut()
                .zip(&wide[i..])
                .for_each(|(g, y)| *g += x * y);
        }
    }
    mirror(&mut gram, n);
    gram
}

/// WWᵀ, (out, out).
fn row_gram(w: &[f32], columns: usize) -> Vec<f64> {
    let n = w.len() / columns;
    let wide: Vec<f64> = w.iter().map(|&v| f64::from(v)).collect();
    let row = |i: usize| &wide[i * columns..(i + 1) * columns];
    let mut gram = vec![0f64; n * n];
    for i in 0..n {
        for j in i..n {
            gram[i * n + j] = dot(row(i), row(j));
        }
    }
    mirror(&mut gram, n);
    gram
}

fn mirror(gram: &mut [f64], n: usize) {
    for i in 0..n {
        for j in 0..i {
            gram[i * n + j] = gram[j * n + i];
        }
    }
}

/// W·v.
fn times(w: &[f32], columns: usize, v: &[f64]) -> Vec<f64> {
    let rows = w.chunks_exact(columns);
    rows.map(|row| row.iter().zip(v).map(|(&x, y)| f64::from(x) * y).sum())
        .collect()
}

/// Wᵀ·u.
fn transposed_times(w: &[f32], columns: usize, u: &[f64]) -> Vec<f64> {
    let mut out = vec![0f64; columns];
    for (row, &x) in w.chunks_exact(columns).zip(u) {
        out.iter_mut()
            .zip(row)
            .for_each(|(y, &value)| *y += x * f64::from(value));
    }
    out
}
