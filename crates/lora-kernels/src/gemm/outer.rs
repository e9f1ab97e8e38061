//! Sums of outer products over tokens: the gradients of LoRA's factors. The tokens are the inner dimension and lie apart in
//! memory, the features side by side, so that the left operand is read where it lies.
use super::isa::{Kernels, best};
use super::product::TILE;
use super::right::{MatRight, Packing, Right};
use super::tile::{Out, Part, Strides};
use crate::matmul::Mat;
use crate::memory::grow;
use crate::shared::SharedMut;
use rayon::prelude::*;
use std::cell::RefCell;

/// Where Σ goes: feature i, rank j at `i · feature_stride + j · rank_stride`.
pub(crate) struct Gradient<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) feature_stride: usize,
    pub(crate) rank_stride: usize,
}

thread_local! {
    /// Packed ranks. They are taken out while in use: a thread that waits may begin other sums.
    static RANKS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// Features beside the last whole tile.
    static EDGE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Panels of features that a thread takes at once.
const PANELS: usize = 8;
/// Tokens summed in one go: their ranks stay in the second-level cache.
const TOKENS: usize = 1024;

/// gradient += scale · Σ_t x[t]ᵀ·u[t], with x (T, features) and u (T, rank), both row-major.
pub(crate) fn outer(x: &[f32], u: &[f32], tokens: usize, scale: f32, gradient: Gradient<'_>) {
    if tokens == 0 || x.is_empty() || u.is_empty() {
        return;
    }
    let kernels = best();
    let (features, rank) = (x.len() / tokens, u.len() / tokens);
    let Gradient {
        values,
        feature_stride,
        rank_stride,
    } = gradient;
    assert!(
        (features - 1) * feature_stride + (rank - 1) * rank_stride < values.len(),
        "gradient outside its values"
    );
    let to = SharedMut::new(values);
    let mut memory = RANKS.take();
    let ranks = if rank == kernels.columns {
        u
    } else {
        pack_ranks(kernels, u, tokens, rank, &mut memory)
    };
    let sums = Sums {
        kernels,
        x,
        ranks,
        tokens,
        features,
        rank,
        scale,
        feature_stride,
        rank_stride,
    };
    let tasks = features.div_ceil(kernels.rows * PANELS);
    (0..tasks)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|task| EDGE.with_borrow_mut(|edge| sums.run(task, to, edge)));
    RANKS.set(memory);
}

/// u (T, rank) as panels of the tile's columns, stretch after stretch of tokens; of one whole panel it is that already.
fn pack_ranks<'m>(
    kernels: &Kernels,
    u: &[f32],
    tokens: usize,
    rank: usize,
    memory: &'m mut Vec<f32>,
) -> &'m [f32] {
    let width = rank.next_multiple_of(kernels.columns);
    grow(memory, tokens * width);
    let right = MatRight::new(Mat::new(u, tokens, rank));
    for first in (0..tokens).step_by(TOKENS) {
        let end = tokens.min(first + TOKENS);
        let panels = &mut memory[first * width..end * width];
        right.pack(
            Packing::of(kernels),
            first..end,
            0..rank,
            panels,
            &mut Vec::new(),
        );
    }
    &memory[..tokens * width]
}

#[derive(Clone, Copy)]
struct Sums<'s> {
    kernels: &'static Kernels,
    x: &'s [f32],
    /// Packed, see [`pack_ranks`].
    ranks: &'s [f32],
    tokens: usize,
    features: usize,
    rank: usize,
    scale: f32,
    feature_stride: usize,
    rank_stride: usize,
}

impl Sums<'_> {
    fn run(self, task: usize, to: SharedMut, edge: &mut Vec<f32>) {
        let Kernels { rows, columns, .. } = *self.kernels;
        let first = task * rows * PANELS;
        let features = first..self.features.min(first + rows * PANELS);
        let width = self.rank.next_multiple_of(columns);
        for token in (0..self.tokens).step_by(TOKENS) {
            let count = TOKENS.min(self.tokens - token);
            let stretch = &self.ranks[token * width..(token + count) * width];
            for feature in features.clone().step_by(rows) {
                for (panel, rank) in stretch
                    .chunks_exact(columns * count)
                    .zip((0..self.rank).step_by(columns))
                {
                    self.tile((token, count), feature, panel, rank, to, edge);
                }
            }
        }
    }

    fn tile(
        self,
        (token, count): (usize, usize),
        feature: usize,
        panel: &[f32],
        rank: usize,
        to: SharedMut,
        edge: &mut Vec<f32>,
    ) {
        let Kernels {
            rows,
            columns,
            across,
            ..
        } = *self.kernels;
        let (live, live_ranks) = (
            rows.min(self.features - feature),
            columns.min(self.rank - rank),
        );
        let run = across.of(live_ranks, columns);
        let mut left = &self.x[token * self.features + feature..];
        let mut stride = self.features;
        if live < rows {
            // The last features of a token: a whole tile would read into the next token, and behind the last one.
            grow(edge, count * rows);
            for (t, values) in edge.chunks_exact_mut(rows).take(count).enumerate() {
                values[..live].copy_from_slice(&left[t * stride..t * stride + live]);
                values[live..].fill(0.0);
            }
            (left, stride) = (&edge[..count * rows], rows);
        }
        assert!((count - 1) * stride + rows <= left.len() && count * columns <= panel.len());
        let mut sums = [0f32; TILE];
        let out = Out {
            pointer: sums.as_mut_ptr(),
            stride: columns,
            accumulate: false,
            scale: self.scale,
        };
        let parts = [Part {
            k: count,
            left: left.as_ptr(),
            right: panel.as_ptr(),
        }];
        // SAFETY: the left side spans `count` steps of `rows` values and the panel as many of `columns` (asserted), a tile
        // has at most TILE values; the kernels are those of this machine.
        unsafe {
            run(
                parts,
                Strides {
                    left_step: stride,
                    right_step: columns,
                    ..Strides::default()
                },
                out,
            )
        };
        for (i, sums) in sums.chunks_exact(columns).take(live).enumerate() {
            for (j, sum) in sums.iter().take(live_ranks).enumerate() {
                let at = (feature + i) * self.feature_stride + (rank + j) * self.rank_stride;
                // SAFETY: one element, whose feature belongs to one task.
                unsafe { to.part(at, 1)[0] += sum };
            }
        }
    }
}
