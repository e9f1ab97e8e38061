//! Rotary position embedding (Su et al. 2021): pairs of features of a head are turned by the token's position; features behind
//! the pairs stay as they are.
use crate::dispatch::vectorised;
use rayon::prelude::*;

/// cos and sin of every position and frequency, in f32 whatever the model's dtype: (positions, half) each.
#[derive(Debug, Clone, Default)]
pub struct Table {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Table {
    /// Tables for positions 0.. `positions` of the given inverse frequencies (one a rotated pair, scaling applied); cos and
    /// sin of a position are multiplied by its `factor` (YaRN's and LongRoPE's attention factor, the growth of queries).
    /// The angle is rounded to f32 before its cosine, as transformers computes it.
    #[must_use]
    pub fn new(
        inverse_frequencies: &[f32],
        factor: impl Fn(usize) -> f64,
        positions: usize,
    ) -> Self {
        let mut table = Self {
            half: inverse_frequencies.len(),
            ..Self::default()
        };
        for position in 0..positions {
            let factor = factor(position) as f32;
            let angles = inverse_frequencies
                .iter()
                .map(|&f| f64::from(position as f32 * f));
            let values = angles.map(|a| (a.cos() as f32 * factor, a.sin() as f32 * factor));
            let (cos, sin): (Vec<f32>, Vec<f32>) = values.unzip();
            table.cos.extend(cos);
            table.sin.extend(sin);
        }
        table
    }

    /// Positions that the table holds.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(0)
    }
}

/// Which way [`rotate`] turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// By the token's position.
    Forward,
    /// By −position, which is the backward pass (the transpose: the table's factor stays).
    Back,
}

/// Which features of a head are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// i and i + half of the rotated features: transformers' `rotate_half` of Llama.
    Halves,
    /// 2i and 2i + 1.
    Neighbours,
}

/// The heads of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// How many.
    pub count: usize,
    /// Features of each, d.
    pub width: usize,
    /// Which of them are turned together.
    pub pairs: Pairs,
}

/// Rotates every head of x (T, heads · d) in place, by the token's position or back.
///
/// # Panics
/// If a position lies outside the table.
pub fn rotate(x: &mut [f32], positions: &[u32], heads: Heads, table: &Table, turn: Turn) {
    let half = table.half;
    let sign = match turn {
        Turn::Forward => 1.0,
        Turn::Back => -1.0,
    };
    x.par_chunks_mut(heads.count * heads.width)
        .zip(positions)
        .for_each(|(row, &p)| {
            let at = p as usize * half..(p as usize + 1) * half;
            let cos = &table.cos[at.clone()];
            let sin = &table.sin[at];
            for head in row.chunks_exact_mut(heads.width) {
                let rotated = &mut head[..2 * half];
                match heads.pairs {
                    Pairs::Halves => {
                        let (a, b) = rotated.split_at_mut(half);
                        rotate_halves(a, b, cos, sin, sign);
                    }
                    Pairs::Neighbours => rotate_neighbours(rotated, cos, sin, sign),
                }
            }
        });
}

vectorised! {
    fn rotate_halves(a: &mut [f32], b: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        for ((a, b), (&cos, &sin)) in a.iter_mut().zip(b).zip(cos.iter().zip(sin)) {
            let (x, y, s) = (*a, *b, sign * sin);
            *a = x * cos - y * s;
            *b = y * cos + x * s;
        }
    }
}

vectorised! {
    fn rotate_neighbours(pairs: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        for (pair, (&cos, &sin)) in pairs.chunks_exact_mut(2).zip(cos.iter().zip(sin)) {
            let (x, y, s) = (pair[0], pair[1], sign * sin);
            pair[0] = x * cos - y * s;
            pair[1] = y * cos + x * s;
        }
    }
}
