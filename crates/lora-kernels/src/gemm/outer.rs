//! Sums of outer products over tokens: the gradients of LoRA's factors. The tokens are the inner dimension and lie apart in
//! memory, the features side by side, so that the left operand is read where it lies.
use super::isa::{Kernels, best};
use super::packing::Packing;
use super::right::{MatRight, Right};
use super::tile::{LARGEST, Out, Part, Strides};
use crate::matrix::{Mat, Place, Write};
use crate::memory::grow;
use crate::shared::SharedMut;
use rayon::prelude::*;
use std::cell::RefCell;

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

/// Where Σ goes, which is added to it.
#[derive(Debug)]
pub(crate) enum Gradient<'a> {
    /// (features, rank), as B is.
    ByFeature(Place<'a>),
    /// (rank, features), as A is.
    ByRank(Place<'a>),
}

/// gradient += scale · Σ_t x[t]ᵀ·u[t], with x (T, features) and u (T, rank).
///
/// # Panics
/// If the shapes do not fit, or x is a transpose.
pub(crate) fn outer(x: Mat<'_>, u: Mat<'_>, scale: f32, gradient: Gradient<'_>) {
    let (features, rank) = (x.columns(), u.columns());
    let (place, shape, [feature_stride, rank_stride]) = match gradient {
        Gradient::ByFeature(place) => (place, (features, rank), [rank, 1]),
        Gradient::ByRank(place) => (place, (rank, features), [1, features]),
    };
    assert!(
        x.rows() == u.rows() && (place.rows(), place.columns()) == shape,
        "sums of outer products: ({}, {})ᵀ · ({}, {}) into ({}, {})",
        x.rows(),
        features,
        u.rows(),
        rank,
        place.rows(),
        place.columns()
    );
    assert!(x.column_stride() == 1, "features lie side by side");
    if x.rows() == 0 || features == 0 || rank == 0 {
        return;
    }
    let kernels = best();
    let mut memory = RANKS.take();
    let is_packed = rank == kernels.columns && u.row_stride() == rank;
    let ranks = if is_packed {
        u.values()
    } else {
        pack_ranks(kernels, u, &mut memory)
    };
    let sums = Sums {
        kernels,
        x,
        ranks,
        rank,
        scale,
        to: SharedMut::new(place.into_values()),
        feature_stride,
        rank_stride,
    };
    let tasks = features.div_ceil(kernels.rows * PANELS);
    (0..tasks)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|task| EDGE.with_borrow_mut(|edge| sums.run(task, edge)));
    RANKS.set(memory);
}

/// u (T, rank) as panels of the tile's columns, stretch after stretch of tokens; of one whole panel it is that already.
fn pack_ranks<'m>(kernels: &Kernels, u: Mat<'_>, memory: &'m mut Vec<f32>) -> &'m [f32] {
    let (tokens, rank) = (u.rows(), u.columns());
    let packing = Packing::of_columns(kernels);
    let width = rank.next_multiple_of(kernels.columns);
    grow(memory, tokens * width);
    let right = MatRight::new(u);
    for first in (0..tokens).step_by(TOKENS) {
        let stretch = first..tokens.min(first + TOKENS);
        let panels = &mut memory[first * width..stretch.end * width];
        right.pack(packing, stretch, 0..rank, panels, &mut Vec::new());
    }
    &memory[..tokens * width]
}

struct Sums<'s> {
    kernels: &'static Kernels,
    x: Mat<'s>,
    /// Packed, see [`pack_ranks`].
    ranks: &'s [f32],
    rank: usize,
    scale: f32,
    to: SharedMut<'s>,
    /// Values between two features and between two ranks in `to`.
    feature_stride: usize,
    rank_stride: usize,
}

/// What one tile sums: some tokens, from one feature and one rank on.
#[derive(Clone, Copy)]
struct Sum<'s> {
    task: usize,
    token: usize,
    tokens: usize,
    feature: usize,
    rank: usize,
    /// The tokens' ranks, a panel.
    panel: &'s [f32],
}

impl Sums<'_> {
    fn run(&self, task: usize, edge: &mut Vec<f32>) {
        let Kernels { rows, columns, .. } = *self.kernels;
        let first = task * rows * PANELS;
        let features = first..self.x.columns().min(first + rows * PANELS);
        let width = self.rank.next_multiple_of(columns);
        for token in (0..self.x.rows()).step_by(TOKENS) {
            let tokens = TOKENS.min(self.x.rows() - token);
            let stretch = &self.ranks[token * width..(token + tokens) * width];
            for feature in features.clone().step_by(rows) {
                for (panel, rank) in stretch
                    .chunks_exact(columns * tokens)
                    .zip((0..self.rank).step_by(columns))
                {
                    let sum = Sum {
                        task,
                        token,
                        tokens,
                        feature,
                        rank,
                        panel,
                    };
                    self.tile(sum, edge);
                }
            }
        }
    }

    fn tile(&self, sum: Sum<'_>, edge: &mut Vec<f32>) {
        let Kernels {
            rows,
            columns,
            across,
            ..
        } = *self.kernels;
        let live = rows.min(self.x.columns() - sum.feature);
        let live_ranks = columns.min(self.rank - sum.rank);
        let run = across.of(live_ranks, columns);
        let mut stride = self.x.row_stride();
        let mut left = &self.x.values()[sum.token * stride + sum.feature..];
        if live < rows {
            // The last features of a token: a whole tile would read into the next token, and behind the last one.
            grow(edge, sum.tokens * rows);
            for (t, values) in edge.chunks_exact_mut(rows).take(sum.tokens).enumerate() {
                values[..live].copy_from_slice(&left[t * stride..t * stride + live]);
                values[live..].fill(0.0);
            }
            left = &edge[..sum.tokens * rows];
            stride = rows;
        }
        assert!(
            (sum.tokens - 1) * stride + rows <= left.len()
                && sum.tokens * columns <= sum.panel.len(),
            "a tile outside its operands"
        );
        let mut sums = [0f32; LARGEST];
        let out = Out {
            pointer: sums.as_mut_ptr(),
            stride: columns,
            write: Write::Replace,
            scale: self.scale,
        };
        let part = Part {
            k: sum.tokens,
            left: left.as_ptr(),
            right: sum.panel.as_ptr(),
        };
        let strides = Strides {
            left_step: stride,
            right_step: columns,
            ..Strides::default()
        };
        // SAFETY: the left side spans as many steps of `rows` values as there are tokens and the panel as many of `columns`
        // (asserted), a tile has at most LARGEST values; the kernels are those of this machine.
        unsafe { run([part], strides, out) };
        for (i, sums) in sums.chunks_exact(columns).take(live).enumerate() {
            for (j, value) in sums.iter().take(live_ranks).enumerate() {
                let feature = (sum.feature + i) * self.feature_stride;
                let rank = (sum.rank + j) * self.rank_stride;
                // SAFETY: one element, whose feature belongs to one task.
                unsafe { self.to.part(sum.task, feature + rank, 1)[0] += value };
            }
        }
    }
}
