//! Eigenvalues and eigenvectors of a symmetric matrix.

/// Eigenvalues of a symmetric matrix (n, n), which is replaced by the eigenvectors in its columns: Householder's reduction
/// to three diagonals, then QL with implicit shifts (Golub and Van Loan, Matrix Computations, 8.3).
pub(super) fn eigen(matrix: &mut [f64], n: usize) -> Vec<f64> {
    let (mut diagonal, mut beside) = (vec![0f64; n], vec![0f64; n]);
    let reflectors = tridiagonal(matrix, n, &mut diagonal, &mut beside);
    identity(matrix, n);
    accumulate(matrix, n, &reflectors);
    let mut rows = transposed(matrix, n); // eigenvectors as rows: the rotations below then run along memory
    implicit_ql(&mut rows, n, &mut diagonal, &mut beside);
    matrix.copy_from_slice(&transposed(&rows, n));
    diagonal
}

/// Householder vectors v (of length 1, or 0) with H = I − 2vvᵀ; the k-th acts on coordinates k+1…
fn tridiagonal(a: &mut [f64], n: usize, diagonal: &mut [f64], beside: &mut [f64]) -> Vec<Vec<f64>> {
    let mut reflectors = Vec::with_capacity(n.saturating_sub(2));
    for k in 0..n.saturating_sub(2) {
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let norm = dot(&v, &v).sqrt();
        beside[k] = if v[0] > 0.0 { -norm } else { norm };
        v[0] -= beside[k];
        let length = dot(&v, &v).sqrt();
        if length > 0.0 {
            v.iter_mut().for_each(|x| *x /= length);
            reflect_both_sides(a, n, k + 1, &v);
        }
        reflectors.push(v);
    }
    for i in 0..n {
        diagonal[i] = a[i * n + i];
    }
    if n >= 2 {
        beside[n - 2] = a[(n - 1) * n + n - 2];
    }
    reflectors
}

/// A ← H·A·H on the coordinates from `start`: A − v·wᵀ − w·vᵀ with p = 2Av, w = p − (vᵀp)·v.
fn reflect_both_sides(a: &mut [f64], n: usize, start: usize, v: &[f64]) {
    let mut w: Vec<f64> = (start..n)
        .map(|i| 2.0 * dot(&a[i * n + start..(i + 1) * n], v))
        .collect();
    let share = dot(v, &w);
    w.iter_mut().zip(v).for_each(|(w, v)| *w -= share * v);
    for (i, (&vi, &wi)) in v.iter().zip(&w).enumerate() {
        let row = &mut a[(start + i) * n + start..(start + i + 1) * n];
        row.iter_mut()
            .zip(v.iter().zip(&w))
            .for_each(|(x, (v, w))| *x -= vi * w + wi * v);
    }
}

/// Q = H₀·H₁·…, from the last to the first.
fn accumulate(q: &mut [f64], n: usize, reflectors: &[Vec<f64>]) {
    for (k, v) in reflectors.iter().enumerate().rev() {
        let start = k + 1;
        let mut share = vec![0f64; n - start];
        for (i, &vi) in v.iter().enumerate() {
            let row = &q[(start + i) * n + start..(start + i + 1) * n];
            share.iter_mut().zip(row).for_each(|(s, x)| *s += vi * x);
        }
        for (i, &vi) in v.iter().enumerate() {
            let row = &mut q[(start + i) * n + start..(start + i + 1) * n];
            row.iter_mut()
                .zip(&share)
                .for_each(|(x, s)| *x -= 2.0 * vi * s);
        }
    }
}

/// QL with implicit Wilkinson shifts on diagonal d and off-diagonal e (e[i] beside d[i] and d[i+1]); the rotations also act
/// on the rows of `q`.
fn implicit_ql(q: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64]) {
    for l in 0..n {
        for _ in 0..60 {
            let small = |m: usize| e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs());
            let m = (l..n - 1).find(|&m| small(m)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            sweep(q, n, d, e, l, m);
        }
    }
}

fn sweep(q: &mut [f64], n: usize, d: &mut [f64], e: &mut [f64], l: usize, m: usize) {
    let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
    let root = g.hypot(1.0);
    let mut g = d[m] - d[l] + e[l] / (g + if g >= 0.0 { root } else { -root });
    let (mut s, mut c, mut p) = (1.0f64, 1.0f64, 0.0f64);
    for i in (l..m).rev() {
        let (f, b) = (s * e[i], c * e[i]);
        let r = f.hypot(g);
        if i + 1 < n {
            e[i + 1] = r;
        }
        if r == 0.0 {
            d[i + 1] -= p;
            e[m] = 0.0;
            return;
        }
        (s, c) = (f / r, g / r);
        g = d[i + 1] - p;
        let t = (d[i] - g) * s + 2.0 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
        let (upper, lower) = q.split_at_mut((i + 1) * n);
        for (x, y) in upper[i * n..].iter_mut().zip(&mut lower[..n]) {
            (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
        }
    }
    d[l] -= p;
    e[l] = g;
    e[m] = 0.0;
}

fn identity(matrix: &mut [f64], n: usize) {
    matrix.fill(0.0);
    matrix.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
}

fn transposed(matrix: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|i| matrix[(i % n) * n + i / n]).collect()
}

/// Σ xᵢ·yᵢ in eight interleaved sums.
pub(super) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0f64; 8];
    let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
    let tail: f64 = xs
        .remainder()
        .iter()
        .zip(ys.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in xs.zip(ys) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f64>() + tail
}
