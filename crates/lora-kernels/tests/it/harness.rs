//! Deterministic inputs, and finite differences of an f64 function.

/// Values in (−1, 1) from a counter.
pub fn values(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            let mut z = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ^ seed.wrapping_mul(0xD134_2543_DE82_EF95);
            z = (z ^ (z >> 32)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z ^= z >> 29;
            (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

/// Asserts |got − want| ≤ tolerance · max|want|, value by value.
pub fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let largest = want.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(g) - w).abs() <= tolerance * largest,
            "{what}[{i}]: {g} instead of {w}"
        );
    }
}

/// The gradient of `f` at `x` by central differences.
pub fn gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let h = 1e-5;
    (0..x.len())
        .map(|i| {
            let mut at = x.to_vec();
            at[i] += h;
            let up = f(&at);
            at[i] -= 2.0 * h;
            (up - f(&at)) / (2.0 * h)
        })
        .collect()
}

/// Σ wᵢ·yᵢ: the scalar whose gradient with respect to y is w.
pub fn weigh(w: &[f32], y: &[f64]) -> f64 {
    w.iter().zip(y).map(|(&w, y)| f64::from(w) * y).sum()
}

/// A dense f32 matrix as the kernels see weights; `in_place` decides whether they may read it where it lies.
pub struct Dense {
    pub values: Vec<f32>,
    pub columns: usize,
    pub in_place: bool,
}

impl lora_kernels::Rows for Dense {
    fn rows(&self) -> usize {
        self.values.len() / self.columns
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read_rows(&self, first: usize, out: &mut [f32]) {
        let at = first * self.columns;
        out.copy_from_slice(&self.values[at..at + out.len()]);
    }
    fn unit(&self) -> usize {
        1
    }
    fn read_part(&self, row: usize, column: usize, out: &mut [f32]) {
        let at = row * self.columns + column;
        out.copy_from_slice(&self.values[at..at + out.len()]);
    }
    fn as_f32(&self) -> Option<&[f32]> {
        self.in_place.then_some(&self.values)
    }
}
