//! MXFP4 (OCP Microscaling Formats 1.0): 32 values of 4 bits, floats of two bits of exponent and one of mantissa, and the
//! exponent that they share. Importance is not heard, as in ggml.
use crate::mxfp4::half_scale;

/// Twice the values of the codes.
const DOUBLED: [f32; 16] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0,
];

/// A row of whole blocks: the exponent, then in each byte value j and value j + 16.
pub(super) fn row(row: &[f32], out: &mut [u8]) {
    let blocks = row.as_chunks::<32>().0.iter();
    for (x, out) in blocks.zip(out.as_chunks_mut::<17>().0) {
        out[0] = exponent(x);
        let half = half_scale(out[0]);
        for j in 0..16 {
            out[1 + j] = nearest(x[j], half) | nearest(x[j + 16], half) << 4;
        }
    }
}

/// The scale's exponent: the largest value comes to lie between 4 and 8.
fn exponent(x: &[f32; 32]) -> u8 {
    let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    if largest == 0.0 {
        return 0;
    }
    // The logarithm is rounded to f32, as ggml's is.
    let power = f64::from(largest).log2() as f32;
    (power.floor() - 2.0 + 127.0).max(0.0) as u8
}

/// The code whose value is nearest, of equals the first.
fn nearest(x: f32, half: f32) -> u8 {
    let error = |code: usize| (DOUBLED[code] * half - x).abs();
    let better = |best, code| {
        if error(code) < error(best) {
            code
        } else {
            best
        }
    };
    (1..16).fold(0, better) as u8
}
