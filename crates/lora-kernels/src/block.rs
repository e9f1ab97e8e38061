//! Small products, and the triangular systems of a chunk. Each value is one sum in the order of the inner dimension.
use crate::dispatch::vectorised;

/// Rows and columns of a tile.
const TILE: [usize; 2] = [4, 32];
/// Rows of a triangular system that are solved before what they add to later ones is multiplied out.
const STEP: usize = 16;

vectorised! {
    /// c (m, n) += a·b of size [m, k, n]: a(i, p) = a[i·strides[0] + p·strides[1]], b (k, n) and c are dense.
    pub(crate) fn add_product(c: &mut [f32], a: &[f32], strides: [usize; 2], b: &[f32], size: [usize; 3]) {
        let [m, k, n] = size;
        let [rows, columns] = TILE;
        if k == 0 {
            return;
        }
        for i in (0..m).step_by(rows) {
            for j in (0..n).step_by(columns) {
                if i + rows <= m && j + columns <= n {
                    tile(&mut c[i * n + j..], &a[i * strides[0]..], strides, &b[j..], [k, n]);
                    continue;
                }
                for i in i..m.min(i + rows) {
                    for j in j..n.min(j + columns) {
                        let mut sum = c[i * n + j];
                        for p in 0..k {
                            sum += a[i * strides[0] + p * strides[1]] * b[p * n + j];
                        }
                        c[i * n + j] = sum;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn tile(c: &mut [f32], a: &[f32], strides: [usize; 2], b: &[f32], [k, n]: [usize; 2]) {
    const ROWS: usize = TILE[0];
    const COLUMNS: usize = TILE[1];
    let mut sums = [[0.0f32; COLUMNS]; ROWS];
    for (i, sums) in sums.iter_mut().enumerate() {
        sums.copy_from_slice(&c[i * n..i * n + COLUMNS]);
    }
    for p in 0..k {
        let b = &b[p * n..p * n + COLUMNS];
        for (i, sums) in sums.iter_mut().enumerate() {
            let a = a[i * strides[0] + p * strides[1]];
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        c[i * n..i * n + COLUMNS].copy_from_slice(sums);
    }
}

/// c (m, n) = a·b, otherwise as [`add_product`].
pub(crate) fn product(c: &mut [f32], a: &[f32], strides: [usize; 2], b: &[f32], size: [usize; 3]) {
    c[..size[0] * size[2]].fill(0.0);
    add_product(c, a, strides, b, size);
}

/// to (columns, rows) = the transpose of from (rows, columns).
pub(crate) fn transpose(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = from.len() / columns;
    for (i, row) in from.chunks_exact(columns).enumerate() {
        for (j, &value) in row.iter().enumerate() {
            to[j * rows + i] = value;
        }
    }
}

vectorised! {
    /// y += factor·x.
    pub(crate) fn add_scaled(y: &mut [f32], factor: f32, x: &[f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += factor * x;
        }
    }
}

/// x (c, n) becomes the solution of (I − L)·solution = x, for L (c, c) strictly lower triangular.
pub(crate) fn solve(l: &[f32], c: usize, x: &mut [f32]) {
    let n = x.len() / c;
    for first in (0..c).step_by(STEP) {
        let end = c.min(first + STEP);
        let (known, rest) = x.split_at_mut(first * n);
        let rows = &mut rest[..(end - first) * n];
        add_product(
            rows,
            &l[first * c..],
            [c, 1],
            known,
            [end - first, first, n],
        );
        for i in first + 1..end {
            let (above, row) = rows.split_at_mut((i - first) * n);
            for (j, above) in above.chunks_exact(n).enumerate() {
                add_scaled(&mut row[..n], l[i * c + first + j], above);
            }
        }
    }
}

/// The same of the transposed system, (I − Lᵀ)·solution = x.
pub(crate) fn solve_transposed(l: &[f32], c: usize, x: &mut [f32]) {
    let n = x.len() / c;
    for first in (0..c).step_by(STEP).rev() {
        let end = c.min(first + STEP);
        let (rest, known) = x.split_at_mut(end * n);
        let rows = &mut rest[first * n..];
        if end < c {
            add_product(
                rows,
                &l[end * c + first..],
                [1, c],
                known,
                [end - first, c - end, n],
            );
        }
        for j in (first..end - 1).rev() {
            let (row, below) = rows[(j - first) * n..].split_at_mut(n);
            for (i, below) in below.chunks_exact(n).enumerate() {
                add_scaled(row, l[(j + 1 + i) * c + j], below);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn products_of_all_sizes_are_their_sums() {
        for [m, k, n] in [[1, 1, 1], [4, 3, 32], [5, 7, 33], [9, 64, 70], [3, 0, 2]] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let (mut c, before) = (values(m * n, 3), values(m * n, 3));
            let mut a_t = vec![0.0; a.len()];
            if k > 0 {
                transpose(&a, k, &mut a_t);
            }
            add_product(&mut c, &a, [k, 1], &b, [m, k, n]);
            let mut by_columns = before.clone();
            add_product(&mut by_columns, &a_t, [1, m], &b, [m, k, n]);
            assert_eq!(c, by_columns);
            for i in 0..m {
                for j in 0..n {
                    let terms = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]));
                    let want = f64::from(before[i * n + j]) + terms.sum::<f64>();
                    assert!((f64::from(c[i * n + j]) - want).abs() < 1e-4, "{m} {k} {n}");
                }
            }
        }
    }

    #[test]
    fn solutions_solve_both_systems() {
        for (c, n) in [(1, 5), (16, 32), (37, 40), (64, 3)] {
            let mut l: Vec<f32> = values(c * c, 5).iter().map(|v| v * 0.2).collect();
            for i in 0..c {
                l[i * c + i..(i + 1) * c].fill(0.0);
            }
            let x = values(c * n, 6);
            let (mut by_rows, mut by_columns) = (x.clone(), x.clone());
            solve(&l, c, &mut by_rows);
            solve_transposed(&l, c, &mut by_columns);
            let minus: Vec<f32> = l.iter().map(|v| -v).collect();
            for (solution, strides) in [(by_rows, [c, 1]), (by_columns, [1, c])] {
                let mut again = solution.clone();
                add_product(&mut again, &minus, strides, &solution, [c, c, n]);
                let error = again.iter().zip(&x).map(|(a, b)| (a - b).abs());
                assert!(error.fold(0.0, f32::max) < 1e-4, "{c} {n}");
            }
        }
    }
}
