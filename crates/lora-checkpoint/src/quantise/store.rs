//! What several block types store alike: factors as f16, levels of two bits; and the sum that their weights begin with.
use std::array::from_fn;

/// Values of a block of the K-quants.
pub(super) const SUPER: usize = 256;

/// The f16 at a place of a block, widened.
pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Stores a factor as f16; returns what was stored, widened.
pub(super) fn put_half(block: &mut [u8], at: usize, value: f32) -> f32 {
    let stored = half::f16::from_f32(value);
    block[at..at + 2].copy_from_slice(&stored.to_le_bytes());
    stored.to_f32()
}

/// Σ x², value by value.
pub(super) fn sum_of_squares(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, &x| sum + x * x)
}

/// Two bits of each level: in each 128 values, values i, i + 32, i + 64 and i + 96 in a byte.
pub(super) fn put_two_bits(levels: &[u8; SUPER], out: &mut [u8]) {
    for (levels, out) in levels
        .as_chunks::<128>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<32>().0)
    {
        *out = from_fn(|i| {
            levels[i] | levels[i + 32] << 2 | levels[i + 64] << 4 | levels[i + 96] << 6
        });
    }
}
