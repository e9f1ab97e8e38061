//! K-quants with a scale and a least value for each sub-block, which are levels of the block's own two: Q2_K (16 sub-blocks
//! of 16 values), Q4_K and Q5_K (8 of 32).
use super::blocks_of_32::CANDIDATES;
use super::lanes::{Lanes, across, along, nearest_int};
use super::search::{self, Candidates};
use super::store::{SUPER, put_half, put_two_bits, sum_of_squares};
use std::array::from_fn;

/// Sub-blocks that are searched at a time.
const WIDE: usize = 8;

/// What was found for the sub-blocks of a block.
struct Found {
    /// S of them.
    scales: [f32; 16],
    below: [f32; 16],
    /// What an error in a sub-block weighs.
    weight: [f32; 16],
    levels: [u8; SUPER],
}

impl Found {
    fn nothing() -> Self {
        Self {
            scales: [0.0; 16],
            below: [0.0; 16],
            weight: [0.0; 16],
            levels: [0; SUPER],
        }
    }

    /// Searches eight sub-blocks of N values, from the `first` on.
    #[inline(always)]
    fn search<const N: usize>(
        &mut self,
        x: &[Lanes<WIDE>; N],
        weights: &[Lanes<WIDE>; N],
        greatest: f32,
        candidates: &Candidates,
        first: usize,
    ) {
        let found = search::affine(x, weights, greatest, candidates);
        let of_all = weights
            .iter()
            .fold(Lanes::splat(0.0), |sum, &weight| sum + weight);
        self.scales[first..first + WIDE].copy_from_slice(&found.scale.0);
        self.below[first..first + WIDE].copy_from_slice(&found.below.0);
        self.weight[first..first + WIDE].copy_from_slice(&of_all.0);
        along(&found.levels, &mut self.levels[first * N..][..WIDE * N]);
    }

    /// The levels anew, for the scales as they were stored: the block's own and those of sub-blocks of N values. A
    /// sub-block whose scale was rounded to nothing keeps what it has.
    fn level_again<const N: usize>(
        &mut self,
        x: &[f32; SUPER],
        stored: (f32, f32),
        levels: impl Fn(usize) -> (u8, u8),
        greatest: i32,
    ) {
        let sub_blocks = x.as_chunks::<N>().0.iter();
        for (j, (x, out)) in sub_blocks
            .zip(self.levels.as_chunks_mut::<N>().0)
            .enumerate()
        {
            let (scale, below) = levels(j);
            let scale = stored.0 * f32::from(scale);
            let below = stored.1 * f32::from(below);
            if scale != 0.0 {
                *out = x.map(|x| nearest_int((x + below) / scale).clamp(0, greatest) as u8);
            }
        }
    }
}

/// The greatest of some values, at least 0.
fn greatest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, &v| if v > m { v } else { m })
}

/// importance · √(variance + x²).
fn weigh(x: &[f32; SUPER], importance: &[f32; SUPER], variance: f32) -> [f32; SUPER] {
    from_fn(|i| importance[i] * (variance + x[i] * x[i]).sqrt())
}

/// Q2_K: 16 bytes of scales and least values, 64 of levels, the block's own two.
pub(super) fn q2_k(x: &[f32; SUPER], importance: Option<&[f32; SUPER]>, out: &mut [u8; 84]) {
    const PLAIN: Candidates = Candidates {
        first: -0.5,
        step: 0.1,
        steps: 15,
        absolute: true,
    };
    let (weights, candidates) = match importance {
        None => (x.map(f32::abs), PLAIN),
        Some(importance) => {
            let variance = sum_of_squares(x) / SUPER as f32;
            (weigh(x, importance, variance), CANDIDATES)
        }
    };
    let mut found = Found::nothing();
    for half in 0..2 {
        let part = half * 128..(half + 1) * 128;
        let (x, w) = (across(&x[part.clone()]), across(&weights[part]));
        found.search::<16>(&x, &w, 3.0, &candidates, half * WIDE);
    }
    let mut scales = [0u8; 16];
    let mut below = [0u8; 16];
    let (scale, least) = match importance {
        None => {
            let scale = plain_levels(&found.scales, 15.0, &mut scales);
            let least = plain_levels(&found.below, 15.0, &mut below);
            (scale, least)
        }
        Some(_) => {
            let scale = search::positive(&found.scales, &found.weight, 15, &mut scales);
            let least = search::positive(&found.below, &found.weight, 15, &mut below);
            (scale, least)
        }
    };
    let stored = (put_half(out, 80, scale), put_half(out, 82, least));
    for (out, (scale, below)) in out.iter_mut().zip(scales.iter().zip(below)) {
        *out = scale | below << 4;
    }
    let packed: [u8; 16] = from_fn(|j| out[j]);
    found.level_again::<16>(x, stored, |j| (packed[j] & 15, packed[j] >> 4), 3);
    put_two_bits(&found.levels, &mut out[16..80]);
}

/// Levels of values by their greatest alone; its share of a level.
fn plain_levels(values: &[f32], levels: f32, out: &mut [u8]) -> f32 {
    let most = greatest(values);
    if most > 0.0 {
        let inverse = levels / most;
        for (out, &value) in out.iter_mut().zip(values) {
            *out = nearest_int(inverse * value) as u8;
        }
    }
    most / levels
}

/// Q4_K: the block's own two, 12 bytes of scales and least values, 128 of levels.
pub(super) fn q4_k(x: &[f32; SUPER], importance: Option<&[f32; SUPER]>, out: &mut [u8; 144]) {
    const PLAIN: Candidates = Candidates {
        first: -1.0,
        step: 0.1,
        steps: 20,
        absolute: false,
    };
    let levels = eight_sub_blocks(x, importance, 15, &PLAIN, out);
    put_four_bits(&levels, &mut out[16..]);
}

/// Q5_K: as Q4_K, with the fifth bits before the other four.
pub(super) fn q5_k(x: &[f32; SUPER], importance: Option<&[f32; SUPER]>, out: &mut [u8; 176]) {
    const PLAIN: Candidates = Candidates {
        first: -0.5,
        step: 0.1,
        steps: 15,
        absolute: false,
    };
    let levels = eight_sub_blocks(x, importance, 31, &PLAIN, out);
    for i in 0..32 {
        let bit = |part: usize| (levels[part * 32 + i] >> 4 & 1) << part;
        out[16 + i] = (0..8).fold(0, |bits, part| bits | bit(part));
    }
    put_four_bits(&levels, &mut out[48..]);
}

/// Four bits of each level: in each 64 values, value i beside value i + 32.
fn put_four_bits(levels: &[u8; SUPER], out: &mut [u8]) {
    for (levels, out) in levels
        .as_chunks::<64>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<32>().0)
    {
        *out = from_fn(|i| (levels[i] & 15) | (levels[i + 32] & 15) << 4);
    }
}

/// Writes the first 16 bytes of Q4_K and Q5_K; returns the levels, 0 to `most`.
fn eight_sub_blocks(
    x: &[f32; SUPER],
    importance: Option<&[f32; SUPER]>,
    most: u8,
    plain: &Candidates,
    out: &mut [u8],
) -> [u8; SUPER] {
    let across_x: [Lanes<WIDE>; 32] = across(x);
    let mut found = Found::nothing();
    let mut scales = [0u8; 8];
    let mut below = [0u8; 8];
    let (scale, least) = match importance {
        None => {
            let squares = across_x
                .iter()
                .fold(Lanes::splat(0.0), |sum, &x| sum + x * x);
            let mean = (squares / Lanes::splat(32.0)).map(f32::sqrt);
            let weights = across_x.map(|x| mean + x.abs());
            found.search(&across_x, &weights, most.into(), plain, 0);
            let scale = capped_levels(&found.scales[..8], &mut scales);
            let least = capped_levels(&found.below[..8], &mut below);
            (scale, least)
        }
        Some(importance) => {
            let variance = 2.0 * sum_of_squares(x) / SUPER as f32;
            let weights = across(&weigh(x, importance, variance));
            found.search(&across_x, &weights, most.into(), &CANDIDATES, 0);
            let weight = &found.weight[..8];
            let scale = search::positive(&found.scales[..8], weight, 63, &mut scales);
            let least = search::positive(&found.below[..8], weight, 63, &mut below);
            (scale, least)
        }
    };
    let stored = (put_half(out, 0, scale), put_half(out, 2, least));
    put_six_bits(&scales, &below, &mut out[4..16]);
    found.level_again::<32>(x, stored, |j| (scales[j], below[j]), most.into());
    found.levels
}

/// As [`plain_levels`], for six bits.
fn capped_levels(values: &[f32], out: &mut [u8]) -> f32 {
    let most = greatest(values);
    let inverse = if most > 0.0 { 63.0 / most } else { 0.0 };
    for (out, &value) in out.iter_mut().zip(values) {
        *out = (nearest_int(inverse * value) as u8).min(63);
    }
    most / 63.0
}

/// Eight scales and eight least values of six bits: the first four of each whole, in the low bits of a byte; of the others
/// four bits in a byte that they share, and two above those of the first.
fn put_six_bits(scales: &[u8; 8], below: &[u8; 8], out: &mut [u8]) {
    for j in 0..4 {
        out[j] = scales[j] | (scales[j + 4] >> 4) << 6;
        out[j + 4] = below[j] | (below[j + 4] >> 4) << 6;
        out[j + 8] = (scales[j + 4] & 15) | (below[j + 4] & 15) << 4;
    }
}
