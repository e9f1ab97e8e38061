//! [`Matrix`]: f64 values by columns, their sums and products.

/// A matrix by columns: each column is one slice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    pub(super) rows: usize,
    pub(super) values: Vec<f64>,
}

impl Matrix {
    /// Zeros.
    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            values: vec![0.0; rows * columns],
        }
    }

    /// From values in row-major order, as tensors have them.
    pub(crate) fn from_rows(values: &[f32], columns: usize) -> Self {
        let rows = values.len() / columns;
        let column = |j: usize| values[j..].iter().step_by(columns).map(|&x| f64::from(x));
        Self {
            rows,
            values: (0..columns).flat_map(column).collect(),
        }
    }

    /// The transpose of values in row-major order: each row becomes a column.
    pub(crate) fn from_columns(values: &[f32], rows: usize) -> Self {
        Self {
            rows,
            values: values.iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// The columns of both, side by side.
    pub(crate) fn beside(mut self, other: &Self) -> Self {
        debug_assert_eq!(self.rows, other.rows);
        self.values.extend_from_slice(&other.values);
        self
    }

    pub(crate) fn columns(&self) -> usize {
        self.values.len().checked_div(self.rows).unwrap_or(0)
    }

    pub(crate) fn column(&self, j: usize) -> &[f64] {
        &self.values[j * self.rows..(j + 1) * self.rows]
    }

    pub(super) fn column_mut(&mut self, j: usize) -> &mut [f64] {
        &mut self.values[j * self.rows..(j + 1) * self.rows]
    }

    /// Every value times `factor`.
    pub(crate) fn scale(mut self, factor: f64) -> Self {
        self.values.iter_mut().for_each(|x| *x *= factor);
        self
    }

    /// selfᵀ·other, (columns, other's columns).
    pub(crate) fn gram(&self, other: &Self) -> Self {
        let mut out = Self::zeros(self.columns(), other.columns());
        for j in 0..other.columns() {
            for i in 0..self.columns() {
                out.column_mut(j)[i] = dot(self.column(i), other.column(j));
            }
        }
        out
    }

    /// self·other.
    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut out = Self::zeros(self.rows, other.columns());
        for j in 0..other.columns() {
            for (i, &factor) in other.column(j).iter().enumerate() {
                add_scaled(out.column_mut(j), factor, self.column(i));
            }
        }
        out
    }

    pub(crate) fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.columns(), self.rows);
        for j in 0..self.columns() {
            for (i, &x) in self.column(j).iter().enumerate() {
                out.column_mut(i)[j] = x;
            }
        }
        out
    }

    /// Σ of the products of equal places.
    pub(crate) fn inner(&self, other: &Self) -> f64 {
        dot(&self.values, &other.values)
    }

    /// Frobenius norm.
    pub(crate) fn norm(&self) -> f64 {
        self.inner(self).sqrt()
    }
}

/// Four running sums, so that the machine can add them side by side; the order is the same on every machine.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    for (x, y) in a4.iter().zip(b4) {
        (0..4).for_each(|i| sums[i] += x[i] * y[i]);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

pub(super) fn add_scaled(out: &mut [f64], factor: f64, x: &[f64]) {
    if factor != 0.0 {
        out.iter_mut().zip(x).for_each(|(y, &x)| *y += factor * x);
    }
}
