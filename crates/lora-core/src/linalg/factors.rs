//! QR and singular values of tall matrices with few columns: of B·A through its factors, without ever forming it.
use super::matrix::{Matrix, add_scaled, dot};

/// B·A as Σ σᵢ·uᵢ·vᵢᵀ with σ descending.
#[derive(Debug, Clone)]
pub(crate) struct Singular {
    /// Columns σᵢ·uᵢ, (out).
    pub(crate) scaled_left: Matrix,
    /// Columns vᵢ, (in).
    pub(crate) right: Matrix,
    /// σ, descending.
    pub(crate) values: Vec<f64>,
}

/// A rotation smaller than this against the columns' norms is none.
const ORTHOGONAL: f64 = 1e-15;

/// Jacobi sweeps; eight or nine are enough in practice, the quadratic end included.
const MOST_SWEEPS: usize = 60;

impl Matrix {
    /// Thin QR by Gram-Schmidt with reorthogonalisation: Q has orthonormal columns, or a zero column where a column of
    /// self depends on those before it; R is upper triangular and self = Q·R.
    pub(crate) fn qr(mut self) -> (Self, Self) {
        let columns = self.columns();
        let mut r = Self::zeros(columns, columns);
        for j in 0..columns {
            let (before, rest) = self.values.split_at_mut(j * self.rows);
            let column = &mut rest[..self.rows];
            let length = dot(column, column).sqrt();
            for _ in 0..2 {
                for (i, q) in before.chunks_exact(self.rows).enumerate() {
                    let along = dot(q, column);
                    add_scaled(column, -along, q);
                    r.column_mut(j)[i] += along;
                }
            }
            let left = dot(column, column).sqrt();
            let independent = left > 1e-14 * length;
            column
                .iter_mut()
                .for_each(|x| *x = if independent { *x / left } else { 0.0 });
            r.column_mut(j)[j] = if independent { left } else { 0.0 };
        }
        (self, r)
    }

    /// One-sided Jacobi (Hestenes): self·V = U·Σ with V orthogonal; returns (U·Σ, V) with columns by falling norm.
    fn jacobi(mut self) -> (Self, Self) {
        let columns = self.columns();
        let mut v = Self::zeros(columns, columns);
        (0..columns).for_each(|j| v.column_mut(j)[j] = 1.0);
        for _ in 0..MOST_SWEEPS {
            let mut rotated = false;
            for p in 0..columns {
                for q in p + 1..columns {
                    let (a, b) = (self.column(p), self.column(q));
                    let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
                    if ab.abs() <= ORTHOGONAL * (aa * bb).sqrt() {
                        continue;
                    }
                    rotated = true;
                    let zeta = (bb - aa) / (2.0 * ab);
                    let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                    let cosine = 1.0 / tangent.hypot(1.0);
                    self.rotate(p, q, cosine, cosine * tangent);
                    v.rotate(p, q, cosine, cosine * tangent);
                }
            }
            if !rotated {
                break;
            }
        }
        let norms: Vec<f64> = (0..columns)
            .map(|j| dot(self.column(j), self.column(j)))
            .collect();
        let mut order: Vec<usize> = (0..columns).collect();
        order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
        (self.picked(&order), v.picked(&order))
    }

    fn rotate(&mut self, p: usize, q: usize, cosine: f64, sine: f64) {
        let (left, right) = self.values.split_at_mut(q * self.rows);
        let (a, b) = (
            &mut left[p * self.rows..(p + 1) * self.rows],
            &mut right[..self.rows],
        );
        for (x, y) in a.iter_mut().zip(b) {
            (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
        }
    }

    fn picked(&self, order: &[usize]) -> Self {
        Self {
            rows: self.rows,
            values: order
                .iter()
                .flat_map(|&j| self.column(j))
                .copied()
                .collect(),
        }
    }
}

/// The singular value decomposition of B·A from its factors: `b` (out, k), `a_transposed` (in, k). With B = Q₁·R₁ and
/// Aᵀ = Q₂·R₂ it is that of the small R₁·R₂ᵀ, turned back by Q₁ and Q₂.
pub(crate) fn singular(b: Matrix, a_transposed: Matrix) -> Singular {
    let (q1, r1) = b.qr();
    let (q2, r2) = a_transposed.qr();
    let (scaled, v) = r1.times(&r2.transposed()).jacobi();
    let values = (0..scaled.columns())
        .map(|j| dot(scaled.column(j), scaled.column(j)).sqrt())
        .collect();
    Singular {
        scaled_left: q1.times(&scaled),
        right: q2.times(&v),
        values,
    }
}

/// ‖B·A‖ (Frobenius) from the factors.
pub(crate) fn product_norm(b: Matrix, a_transposed: Matrix) -> f64 {
    let ((_, r1), (_, r2)) = (b.qr(), a_transposed.qr());
    r1.times(&r2.transposed()).norm()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values in [−1, 1) from a linear congruence.
    fn noise(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    fn distance(x: &Matrix, y: &Matrix) -> f64 {
        x.values
            .iter()
            .zip(&y.values)
            .map(|(x, y)| (x - y).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn qr_gives_the_matrix_back_with_orthonormal_columns() {
        for (rows, columns) in [(9, 4), (4, 4), (3, 5), (1, 1), (40, 16)] {
            let m = Matrix::from_rows(&noise(rows * columns, 3), columns);
            let (q, r) = m.clone().qr();
            assert!(distance(&q.times(&r), &m) < 1e-14, "{rows}×{columns}");
            let gram = q.gram(&q);
            for i in 0..columns {
                for j in 0..columns {
                    let wanted = if i == j && i < rows { 1.0 } else { 0.0 };
                    assert!(
                        (gram.column(j)[i] - wanted).abs() < 1e-14,
                        "{rows}×{columns} at {i},{j}"
                    );
                    assert!(i <= j || r.column(j)[i] == 0.0);
                }
            }
        }
    }

    #[test]
    fn a_dependent_column_is_a_zero_column() {
        let m = Matrix {
            rows: 3,
            values: vec![1.0, 2.0, 2.0, 2.0, 4.0, 4.0, 0.0, 0.0, 0.0],
        };
        let (q, r) = m.clone().qr();
        assert!(distance(&q.times(&r), &m) < 1e-15);
        assert!(q.column(1).iter().chain(q.column(2)).all(|&x| x == 0.0));
    }

    #[test]
    fn singular_values_are_those_of_a_known_matrix() {
        // [[3, 0], [4, 5]] has σ = √45 and √5 (Golub and Van Loan's example).
        let b = Matrix::from_rows(&[3.0, 0.0, 4.0, 5.0], 2);
        let a = Matrix::from_columns(&[1.0, 0.0, 0.0, 1.0], 2);
        let svd = singular(b, a);
        assert!(
            (svd.values[0] - 45f64.sqrt()).abs() < 1e-14
                && (svd.values[1] - 5f64.sqrt()).abs() < 1e-14
        );
    }

    #[test]
    fn the_decomposition_multiplies_back_and_is_orthogonal() {
        for (out, k, input) in [(12, 5, 7), (4, 6, 3), (30, 8, 30)] {
            let (b, a) = (noise(out * k, 5), noise(k * input, 7));
            let (b, at) = (Matrix::from_rows(&b, k), Matrix::from_columns(&a, input));
            let product = b.times(&at.transposed());
            let svd = singular(b.clone(), at.clone());
            assert!(distance(&svd.scaled_left.times(&svd.right.transposed()), &product) < 1e-13);
            assert!(svd.values.windows(2).all(|pair| pair[0] >= pair[1]));
            let total: f64 = svd.values.iter().map(|s| s * s).sum();
            assert!((total.sqrt() - product.norm()).abs() < 1e-13);
            assert!((product_norm(b, at) - product.norm()).abs() < 1e-13);
            let gram = svd.scaled_left.gram(&svd.scaled_left);
            for i in 0..k {
                for j in (0..k).filter(|&j| j != i) {
                    assert!(gram.column(j)[i].abs() < 1e-13);
                }
            }
        }
    }
}
