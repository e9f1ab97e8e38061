//! Blocks of 32 values: Q4_0 and Q5_0 (a scale), Q4_1 and Q5_1 (a scale and a least value), Q8_0.
use super::lanes::{Lanes, MAGIC, across, along};
use super::search::{self, Candidates};
use super::store::{put_half, sum_of_squares};
use std::array::from_fn;

/// Values of a block.
const BLOCK: usize = 32;
/// Blocks that are searched at a time.
const WIDE: usize = 8;

/// The types with a scale alone.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Symmetric {
    Q4_0,
    Q5_0,
}

/// The types with a scale and a least value.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Affine {
    Q4_1,
    Q5_1,
}

/// The candidates of a search with importance.
pub(super) const CANDIDATES: Candidates = Candidates {
    first: -0.9,
    step: 0.05,
    steps: 36,
    absolute: false,
};

pub(super) fn symmetric(row: &[f32], importance: Option<&[f32]>, kind: Symmetric, out: &mut [u8]) {
    let (bytes, greatest) = match kind {
        Symmetric::Q4_0 => (18, 8.0),
        Symmetric::Q5_0 => (22, 16.0),
    };
    let Some(importance) = importance else {
        for (x, out) in row
            .as_chunks::<BLOCK>()
            .0
            .iter()
            .zip(out.chunks_exact_mut(bytes))
        {
            let (scale, levels) = symmetric_by_extreme(x, greatest);
            put_half(out, 0, scale);
            put_levels(&levels, &mut out[2..]);
        }
        return;
    };
    let weights = Weights::of(row, importance);
    for (first, blocks) in out.chunks_mut(WIDE * bytes).enumerate() {
        let (x, w) = weights.of_blocks(first);
        let found = search::symmetric(&x, &w, greatest);
        let mut levels = [0; BLOCK * WIDE];
        along(&found.levels, &mut levels);
        let lanes = levels.as_chunks::<BLOCK>().0.iter().zip(found.scale.0);
        for (block, (levels, scale)) in blocks.chunks_exact_mut(bytes).zip(lanes) {
            put_half(block, 0, scale);
            put_levels(levels, &mut block[2..]);
        }
    }
}

pub(super) fn affine(row: &[f32], importance: Option<&[f32]>, kind: Affine, out: &mut [u8]) {
    let (bytes, greatest) = match kind {
        Affine::Q4_1 => (20, 15.0),
        Affine::Q5_1 => (24, 31.0),
    };
    let Some(importance) = importance else {
        for (x, out) in row
            .as_chunks::<BLOCK>()
            .0
            .iter()
            .zip(out.chunks_exact_mut(bytes))
        {
            let (scale, least, levels) = affine_by_range(x, greatest);
            put_half(out, 0, scale);
            put_half(out, 2, least);
            put_levels(&levels, &mut out[4..]);
        }
        return;
    };
    let weights = Weights::of(row, importance);
    for (first, blocks) in out.chunks_mut(WIDE * bytes).enumerate() {
        let (x, w) = weights.of_blocks(first);
        let found = search::affine(&x, &w, greatest, &CANDIDATES);
        let mut levels = [0; BLOCK * WIDE];
        along(&found.levels, &mut levels);
        for (lane, block) in blocks.chunks_exact_mut(bytes).enumerate() {
            put_half(block, 0, found.scale.0[lane]);
            put_half(block, 2, -found.below.0[lane]);
            put_levels(&levels.as_chunks::<BLOCK>().0[lane], &mut block[4..]);
        }
    }
}

/// d = the largest of |x| ÷ 127, then x ÷ d rounded, ties away from zero.
pub(super) fn q8_0(row: &[f32], out: &mut [u8]) {
    for (x, out) in row
        .as_chunks::<BLOCK>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<34>().0)
    {
        let scale = largest(x) / 127.0;
        let inverse = inverse(scale);
        put_half(out, 0, scale);
        for (out, &x) in out[2..].iter_mut().zip(x) {
            *out = round_away(x * inverse);
        }
    }
}

/// The nearest whole number, ties away from zero, of a value within ±127, in two's complement. `f32::round` calls a
/// function where the processor has no instruction for it.
fn round_away(value: f32) -> u8 {
    let nearest = (value + MAGIC) - MAGIC;
    let rest = value - nearest;
    // What was a tie lies half a step from the even number that was taken.
    let up = if rest == 0.5 && value > 0.0 { 1.0 } else { 0.0 };
    let down = if rest == -0.5 && value < 0.0 {
        1.0
    } else {
        0.0
    };
    (nearest + up - down + MAGIC).to_bits() as u8
}

/// The whole part of a value from 0 to 255.
fn whole(value: f32) -> u8 {
    let nearest = value + MAGIC;
    let is_above = nearest - MAGIC > value;
    (nearest.to_bits() - u32::from(is_above)) as u8
}

/// The greatest of |x|.
fn largest(x: &[f32; BLOCK]) -> f32 {
    fold(x, |m, v| if m < v.abs() { v.abs() } else { m }, 0.0)
}

/// Folds a block eight values side by side, where the order makes no difference.
fn fold(x: &[f32; BLOCK], f: impl Fn(f32, f32) -> f32, first: f32) -> f32 {
    let lanes = x
        .as_chunks::<8>()
        .0
        .iter()
        .fold([first; 8], |lanes, x| from_fn(|i| f(lanes[i], x[i])));
    lanes.into_iter().fold(first, &f)
}

/// d = the value of largest magnitude ÷ −greatest, then x ÷ d + greatest.
fn symmetric_by_extreme(x: &[f32; BLOCK], greatest: f32) -> (f32, [u8; BLOCK]) {
    let largest = largest(x);
    let extreme = x.iter().find(|v| v.abs() == largest && largest > 0.0);
    let scale = extreme.unwrap_or(&0.0) / -greatest;
    let inverse = inverse(scale);
    let top = 2.0 * greatest - 1.0;
    let level = |x: f32| {
        let level = x * inverse + (greatest + 0.5);
        whole(if level < top { level } else { top })
    };
    (scale, x.map(level))
}

/// d = range ÷ greatest, then (x − the least) ÷ d.
fn affine_by_range(x: &[f32; BLOCK], greatest: f32) -> (f32, f32, [u8; BLOCK]) {
    let mut least = fold(x, |m, v| if v < m { v } else { m }, f32::MAX);
    let mut most = fold(x, |m, v| if v > m { v } else { m }, -f32::MAX);
    if least == 0.0 {
        // Of zeros with both signs the first counts.
        least = x.iter().find(|&&v| v == 0.0).copied().unwrap_or(least);
        most = if most == 0.0 { least } else { most };
    }
    let scale = (most - least) / greatest;
    let inverse = inverse(scale);
    let level = |x: f32| {
        let level = (x - least) * inverse + 0.5;
        whole(if level < greatest { level } else { greatest })
    };
    (scale, least, x.map(level))
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Four bits of each level, value i beside value i + 16; before them the fifth bits where there is room for them.
fn put_levels(levels: &[u8; BLOCK], out: &mut [u8]) {
    let low = match out.len() {
        20 => {
            let high = levels.iter().enumerate().fold(0u32, |bits, (i, &level)| {
                bits | u32::from(level >> 4 & 1) << i
            });
            out[..4].copy_from_slice(&high.to_le_bytes());
            &mut out[4..]
        }
        _ => out,
    };
    for (i, out) in low.iter_mut().enumerate() {
        *out = (levels[i] & 15) | (levels[i + 16] & 15) << 4;
    }
}

/// What an error at each value of a row weighs: importance · √(mean of x² over the row + x²).
struct Weights<'a> {
    row: &'a [f32],
    importance: &'a [f32],
    mean_square: f32,
}

impl<'a> Weights<'a> {
    fn of(row: &'a [f32], importance: &'a [f32]) -> Self {
        let mean_square = sum_of_squares(row) / row.len() as f32;
        Self {
            row,
            importance,
            mean_square,
        }
    }

    /// Values and weights of the `first`-th eight blocks; zeros where the row has no more.
    fn of_blocks(&self, first: usize) -> ([Lanes<WIDE>; BLOCK], [Lanes<WIDE>; BLOCK]) {
        let start = first * BLOCK * WIDE;
        let end = self.row.len().min(start + BLOCK * WIDE);
        let mut x = [0.0; BLOCK * WIDE];
        let mut importance = [0.0; BLOCK * WIDE];
        x[..end - start].copy_from_slice(&self.row[start..end]);
        importance[..end - start].copy_from_slice(&self.importance[start..end]);
        let weights: [f32; BLOCK * WIDE] =
            from_fn(|i| importance[i] * (self.mean_square + x[i] * x[i]).sqrt());
        (across(&x), across(&weights))
    }
}
