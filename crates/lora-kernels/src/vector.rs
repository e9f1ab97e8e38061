//! Small vector operations that compilers vectorise: fixed lanes, so that sums have one order on every machine.

use crate::dispatch::vectorised;

const LANES: usize = 16;

vectorised! {
    /// Σ aᵢ·bᵢ in 16 interleaved partial sums, added in a fixed tree.
    #[must_use]
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
        for (x, y) in a_chunks.zip(b_chunks) {
            for i in 0..LANES {
                lanes[i] += x[i] * y[i];
            }
        }
        fold(lanes, |x, y| x + y) + tail
    }
}

vectorised! {
    /// Σ aᵢ·(bᵢ − mean), in the order of [`dot`].
    #[must_use]
    pub fn centred_dot(a: &[f32], b: &[f32], mean: f32) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * (y - mean)).sum();
        for (x, y) in a_chunks.zip(b_chunks) {
            for i in 0..LANES {
                lanes[i] += x[i] * (y[i] - mean);
            }
        }
        fold(lanes, |x, y| x + y) + tail
    }
}

vectorised! {
    /// Σ aᵢ, in the order of [`dot`].
    #[must_use]
    pub fn sum(a: &[f32]) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let chunks = a.chunks_exact(LANES);
        let tail: f32 = chunks.remainder().iter().sum();
        for x in chunks {
            for i in 0..LANES {
                lanes[i] += x[i];
            }
        }
        fold(lanes, |x, y| x + y) + tail
    }
}

vectorised! {
    /// The largest value; −∞ of an empty slice.
    #[must_use]
    pub fn max(a: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let chunks = a.chunks_exact(LANES);
        let tail = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for x in chunks {
            for i in 0..LANES {
                lanes[i] = if x[i] > lanes[i] { x[i] } else { lanes[i] };
            }
        }
        fold(lanes, f32::max).max(tail)
    }
}

/// Index of the largest value, the first of equals.
#[must_use]
pub fn argmax(a: &[f32]) -> usize {
    let m = max(a);
    a.iter().position(|&x| x == m).unwrap_or(0)
}

vectorised! {
    /// a += b.
    pub fn add(a: &mut [f32], b: &[f32]) {
        for (x, &y) in a.iter_mut().zip(b) {
            *x += y;
        }
    }
}

fn fold(mut lanes: [f32; LANES], op: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = op(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// eˣ by range reduction and a polynomial of degree 6 (relative error below 2⁻²²), branch-free so that loops over it
/// vectorise. 0 below −87.3, e^88.7 above 88.7; NaN stays NaN.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding and subtracting it rounds to an integer
    let clamped = x.clamp(-87.336_54, 88.72);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * 0.693_359_4) - n * -2.121_944_4e-4; // ln 2 in two parts (Cody and Waite)
    let p = 1.987_569_1e-4f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23); // the integer stands in the lowest bits of `shifted`
    if x < -87.336_54 { 0.0 } else { value * scale }
}

/// tanh x: a polynomial near 0 (Cephes' tanhf), by [`exp`] elsewhere; absolute error below 2⁻²².
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    let z = x * x;
    let p = -5.704_988_7e-3f32;
    let p = p * z + 2.063_908_8e-2;
    let p = p * z - 5.373_971_5e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z - 3.333_328e-1;
    let near = x + x * z * p;
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// The logistic function 1 / (1 + e⁻ˣ).
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}
