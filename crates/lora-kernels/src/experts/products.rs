//! Grouped products: each expert's weight times the rows that are its own. Experts of few rows are shared by the threads, one
//! expert a thread; those of many rows come one after the other, each by all threads.
use super::Routing;
use crate::gemm::{FEW, padded_rows};
use crate::linear::{self, Workspace};
use crate::matrix::{Mat, Place, Write};
use crate::memory::grow;
use crate::rows::Rows;
use rayon::prelude::*;
use std::ops::Range;

/// y (T·k, out) = x (T·k, in) · Wᵀ, each row with the weight (out, in) of its expert.
///
/// # Panics
/// If the shapes do not fit, or weights are fewer than experts.
pub fn forward<W: Rows>(
    weights: &[W],
    x: &[f32],
    routing: &Routing,
    y: &mut [f32],
    workspace: &mut Workspace,
) {
    let Some(shape) = Shape::of(weights, routing) else {
        return;
    };
    let of = |rows: &Range<usize>| rows_of(x, rows, shape.in_features);
    let few = Few::of(routing, shape.in_features);
    few.share(
        y,
        shape.out_features,
        workspace,
        |expert, rows, y, memory| {
            let to = Place::new(y, rows.len(), shape.out_features);
            linear::forward_alone(&weights[expert], of(&rows), to, memory);
        },
    );
    for (expert, rows) in routing.ranges().filter(|(_, rows)| !few.takes(rows)) {
        let y = &mut y[rows.start * shape.out_features..rows.end * shape.out_features];
        let to = Place::new(y, rows.len(), shape.out_features);
        linear::forward(&weights[expert], of(&rows), to, workspace);
    }
}

/// dx (T·k, in) = dy (T·k, out) · W, each row with the weight of its expert; added if told.
///
/// # Panics
/// As for [`forward`].
pub fn backward<W: Rows>(
    weights: &[W],
    dy: &[f32],
    routing: &Routing,
    (dx, write): (&mut [f32], Write),
    workspace: &mut Workspace,
) {
    let Some(shape) = Shape::of(weights, routing) else {
        return;
    };
    let of = |rows: &Range<usize>| rows_of(dy, rows, shape.out_features);
    let few = match shape.out_features <= linear::SLICE {
        true => Few::of(routing, shape.out_features),
        false => Few::default(),
    };
    few.share(
        dx,
        shape.in_features,
        workspace,
        |expert, rows, dx, memory| {
            let to = Place::new(dx, rows.len(), shape.in_features).with(write);
            linear::backward_alone(&weights[expert], of(&rows), to, memory);
        },
    );
    for (expert, rows) in routing.ranges().filter(|(_, rows)| !few.takes(rows)) {
        let dx = &mut dx[rows.start * shape.in_features..rows.end * shape.in_features];
        let to = Place::new(dx, rows.len(), shape.in_features).with(write);
        linear::backward(&weights[expert], of(&rows), to, workspace);
    }
}

/// The weights' common shape.
#[derive(Debug, Clone, Copy)]
struct Shape {
    out_features: usize,
    in_features: usize,
}

impl Shape {
    /// Nothing where nothing was chosen.
    fn of<W: Rows>(weights: &[W], routing: &Routing) -> Option<Self> {
        assert!(
            !weights.is_empty() || routing.is_empty(),
            "{} rows and no expert",
            routing.len()
        );
        weights.first().map(|weight| Self {
            out_features: weight.rows(),
            in_features: weight.columns(),
        })
    }
}

fn rows_of<'x>(values: &'x [f32], rows: &Range<usize>, columns: usize) -> Mat<'x> {
    let values = &values[rows.start * columns..rows.end * columns];
    Mat::new(values, rows.len(), columns)
}

/// Parts for each thread: more than one, so that a thread that is late does not keep the others waiting.
const PARTS: usize = 2;

/// Experts whose rows are few enough that all threads can have one at a time, in the memory that packing all tokens takes.
#[derive(Debug, Default)]
struct Few {
    /// Rows of an expert at most.
    most: usize,
    /// Values of a packed row.
    width: usize,
    /// Neighbouring experts and their rows; of those between that have more rows nothing is computed.
    parts: Vec<Vec<(usize, Range<usize>)>>,
}

impl Few {
    fn of(routing: &Routing, width: usize) -> Self {
        let threads = rayon::current_num_threads();
        let parts = PARTS * threads;
        let tile = padded_rows(1);
        // All parts' packed rows are no more than one packed operand of all tokens.
        let most = (routing.tokens() / parts / tile * tile).min(routing.tokens());
        let mut few = Self {
            most,
            width,
            parts: Vec::new(),
        };
        if threads < 2 || most == 0 {
            few.most = 0;
            return few;
        }
        let own: Vec<_> = routing
            .ranges()
            .filter(|(_, rows)| few.takes(rows))
            .collect();
        let all: usize = own.iter().map(|(_, rows)| rows.len() + OVERHEAD).sum();
        let each = all.div_ceil(parts).max(1);
        let mut taken = 0;
        for (expert, rows) in own {
            let part = taken / each;
            taken += rows.len() + OVERHEAD;
            few.parts.resize_with(part + 1, Vec::new);
            few.parts[part].push((expert, rows));
        }
        few
    }

    /// Whether an expert with these rows is one of them; a single row goes unpacked.
    fn takes(&self, rows: &Range<usize>) -> bool {
        rows.len() > FEW && rows.len() <= self.most
    }

    /// Computes each of them, told its expert, its rows, where they go in `to` (T·k, columns), and memory for packing.
    fn share(
        &self,
        to: &mut [f32],
        columns: usize,
        workspace: &mut Workspace,
        run: impl Fn(usize, Range<usize>, &mut [f32], &mut [f32]) + Sync,
    ) {
        let memory_len = (self.most * self.width).max(1);
        grow(&mut workspace.wide, memory_len * self.parts.len());
        let memories = workspace.wide.chunks_exact_mut(memory_len);
        let mut left = to;
        let mut done = 0;
        let mut tasks = Vec::new();
        for (part, memory) in self.parts.iter().zip(memories) {
            let (Some((_, first)), Some((_, last))) = (part.first(), part.last()) else {
                continue;
            };
            let (_, rest) = left.split_at_mut((first.start - done) * columns);
            let (own, rest) = rest.split_at_mut((last.end - first.start) * columns);
            (left, done) = (rest, last.end);
            tasks.push((part, first.start, own, memory));
        }
        tasks
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(part, start, to, memory)| {
                for (expert, rows) in part {
                    let place = (rows.start - start) * columns..(rows.end - start) * columns;
                    run(*expert, rows.clone(), &mut to[place], memory);
                }
            });
    }
}

/// Rows whose products take about as long as what an expert takes beside them: reading its weight.
const OVERHEAD: usize = 16;
