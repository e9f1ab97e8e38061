//! K-quants with a scale for each of 16 sub-blocks of 16 values, which is a level of the block's own: Q3_K and Q6_K.
use super::lanes::{Lanes, across, along, nearest_int};
use super::search::{self, NOTHING, Symmetric};
use super::store::{SUPER, put_half, put_two_bits, sum_of_squares};
use std::array::from_fn;

/// Sub-blocks, and values of each.
const SUB: usize = 16;
/// Sub-blocks that are searched at a time.
const WIDE: usize = 8;

/// What was found for the sub-blocks of a block.
struct Found {
    scales: [f32; SUB],
    levels: [u8; SUPER],
}

impl Found {
    /// Searches the 16 sub-blocks, `W` at a time.
    #[inline(always)]
    fn search<const W: usize>(
        x: &[f32; SUPER],
        find: impl Fn(&[Lanes<W>; SUB], usize) -> Symmetric<SUB, W>,
    ) -> Self {
        let mut scales = [0.0; SUB];
        let mut levels = [0; SUPER];
        for first in (0..SUB).step_by(W) {
            let part = first * SUB..(first + W) * SUB;
            let found = find(&across(&x[part.clone()]), part.start);
            scales[first..first + W].copy_from_slice(&found.scale.0);
            along(&found.levels, &mut levels[part]);
        }
        Self { scales, levels }
    }

    /// The levels anew, for the scales as they were stored. A sub-block whose scale is nothing keeps what it has.
    fn level_again(&mut self, x: &[f32; SUPER], stored: f32, scales: &[i8; SUB], greatest: i32) {
        let sub_blocks = x.as_chunks::<SUB>().0.iter().zip(scales);
        for ((x, &scale), out) in sub_blocks.zip(self.levels.as_chunks_mut::<SUB>().0) {
            let scale = stored * f32::from(scale);
            let level = |x: f32| nearest_int(x / scale).clamp(-greatest, greatest - 1) + greatest;
            if scale != 0.0 {
                *out = x.map(|x| level(x) as u8);
            }
        }
    }

    /// The scale of largest magnitude.
    fn extreme(&self) -> f32 {
        self.scales
            .iter()
            .fold(0.0, |m: f32, &v| if v.abs() > m.abs() { v } else { m })
    }
}

/// Q3_K: a byte of high bits for each 8 values, 64 bytes of two bits, 12 of scales, the block's own.
pub(super) fn q3_k(x: &[f32; SUPER], importance: Option<&[f32; SUPER]>, out: &mut [u8; 110]) {
    let (mut found, scale, scales) = match importance {
        None => q3_k_plain(x),
        Some(importance) => q3_k_weighted(x, importance),
    };
    let stored = put_half(out, 108, scale);
    found.level_again(x, stored, &scales, 4);
    put_six_bits(&scales, &mut out[96..108]);
    for i in 0..32 {
        let bit = |part: usize| u8::from(found.levels[part * 32 + i] > 3) << part;
        out[i] = (0..8).fold(0, |bits, part| bits | bit(part));
    }
    let low = found.levels.map(|level| level & 3);
    put_two_bits(&low, &mut out[32..96]);
}

fn q3_k_plain(x: &[f32; SUPER]) -> (Found, f32, [i8; SUB]) {
    let found = Found::search::<SUB>(x, |x, _| search::symmetric_by_turns(x, 4.0));
    let extreme = found.extreme();
    if extreme == 0.0 {
        return (found, 0.0, [-32; SUB]);
    }
    let inverse = -32.0 / extreme;
    let scales = found
        .scales
        .map(|scale| (nearest_int(inverse * scale) as i8).clamp(-32, 31));
    (found, 1.0 / inverse, scales)
}

fn q3_k_weighted(x: &[f32; SUPER], importance: &[f32; SUPER]) -> (Found, f32, [i8; SUB]) {
    let variance = 2.0 * sum_of_squares(x) / SUPER as f32;
    let weights: [f32; SUPER] = from_fn(|i| importance[i] * (variance + x[i] * x[i]).sqrt());
    let find = |x: &[Lanes<WIDE>; SUB], start: usize| {
        search::symmetric(x, &across(&weights[start..]), 4.0)
    };
    let found = Found::search(x, find);
    let of_sub_block = weights.as_chunks::<SUB>().0;
    let of_all: [f32; SUB] = from_fn(|j| of_sub_block[j].iter().fold(0.0, |sum, w| sum + w));
    let scales: [Lanes<1>; SUB] = across(&found.scales);
    let whole = search::symmetric(&scales, &across(&of_all), 32.0);
    let levels = whole.levels.map(|level| (level.0[0] as i16 - 32) as i8);
    (found, whole.scale.0[0], levels)
}

/// 16 scales of six bits, −32 to 31: four bits each, then the upper two of scales j, j + 4, j + 8 and j + 12 in a byte.
fn put_six_bits(scales: &[i8; SUB], out: &mut [u8]) {
    let bits = scales.map(|scale| (scale + 32) as u8);
    for j in 0..8 {
        out[j] = (bits[j] & 15) | (bits[j + 8] & 15) << 4;
    }
    for j in 0..4 {
        out[8 + j] = (0..4).fold(0, |all, part| all | (bits[j + 4 * part] >> 4) << (2 * part));
    }
}

/// Q6_K: 128 bytes of four low bits, 64 of two high bits, 16 scales, the block's own.
pub(super) fn q6_k(x: &[f32; SUPER], importance: Option<&[f32; SUPER]>, out: &mut [u8; 210]) {
    let weights = match importance {
        Some(importance) => *importance,
        None => x.map(|x| x * x),
    };
    let find = |x: &[Lanes<WIDE>; SUB], start: usize| {
        search::symmetric(x, &across(&weights[start..]), 32.0)
    };
    let mut found = Found::search(x, find);
    let extreme = found.extreme();
    if extreme.abs() < NOTHING {
        out.fill(0);
        return;
    }
    let inverse = -128.0 / extreme;
    let stored = put_half(out, 208, 1.0 / inverse);
    let scales = found
        .scales
        .map(|scale| nearest_int(inverse * scale).min(127) as i8);
    for (out, scale) in out[192..208].iter_mut().zip(scales) {
        *out = scale as u8;
    }
    found.level_again(x, stored, &scales, 32);
    let low = found.levels.map(|level| level & 15);
    for (half, levels) in low.as_chunks::<128>().0.iter().enumerate() {
        for i in 0..64 {
            out[half * 64 + i] = levels[i] | levels[i + 64] << 4;
        }
    }
    let high = found.levels.map(|level| level >> 4);
    put_two_bits(&high, &mut out[128..192]);
}
