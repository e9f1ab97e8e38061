//! The memory that the rule works in: pieces of one.
use super::SsdShape;
use crate::ops::chunks::CHUNK;
use crate::{Dtype, Mat, Tensor};
use std::ops::Range;

/// Pieces begin at a multiple of so many bytes.
const ALIGNED: usize = 256;

/// Values a row of chunks that a pass holds, by piece: in f32 or activations (None).
fn pieces(shape: SsdShape, is_back: bool) -> [(Option<Dtype>, usize); 18] {
    let (values, heads, sides) = (shape.values(), shape.heads, shape.sides());
    let states = shape.states().div_ceil(CHUNK);
    let f32s = Some(Dtype::F32);
    let back = |count: usize| if is_back { count } else { 0 };
    [
        (f32s, heads),                                       // steps
        (f32s, heads),                                       // sums
        (None, sides),                                       // sides
        (None, values),                                      // written
        (None, values),                                      // late
        (f32s, shape.groups * CHUNK),                        // scores
        (None, heads * CHUNK),                               // p
        (f32s, values),                                      // within
        (f32s, states),                                      // added
        (None, states),                                      // before
        (f32s, values),                                      // of_state
        (None, back(values)),                                // d_by_head
        (None, back(values)),                                // d_since
        (None, back(states)),                                // behind
        (f32s, back(values)),                                // of_end
        (f32s, back(heads * CHUNK)),                         // d_p
        (None, back(shape.groups * CHUNK)),                  // d_scores
        (f32s, back(heads + heads.div_ceil(CHUNK) + sides)), // d_sums, dots, d_sides
    ]
}

/// Bytes of each piece for so many chunks.
fn sizes(
    (shape, chunks): (SsdShape, usize),
    activations: Dtype,
    is_back: bool,
) -> impl Iterator<Item = (Dtype, usize)> {
    let all = pieces(shape, is_back).into_iter();
    all.map(move |(dtype, values)| (dtype.unwrap_or(activations), chunks * CHUNK * values))
}

fn bytes((dtype, len): (Dtype, usize)) -> usize {
    (len * dtype.bytes()).next_multiple_of(ALIGNED)
}

/// Bytes that the rule works in for so many chunks, with a way back or without.
#[must_use]
pub fn ssd_bytes(shape: SsdShape, chunks: usize, activations: Dtype, is_back: bool) -> usize {
    sizes((shape, chunks), activations, is_back)
        .map(bytes)
        .sum()
}

/// The pieces. All rows are those of chunks, R = chunks·64.
#[derive(Debug)]
pub(super) struct Room {
    /// Δ and G, f32 (chunks, heads, 64).
    pub(super) steps: Tensor,
    pub(super) sums: Tensor,
    /// B and C of all groups, (R, sides).
    pub(super) sides: Tensor,
    /// Δ·x, (chunks, heads, 64, width).
    pub(super) written: Tensor,
    /// The same as it is left at the chunk's end, (R, values).
    pub(super) late: Tensor,
    /// C·Bᵀ, f32 (chunks, groups, 64, 64); with what is left of it, (chunks, heads, 64, 64).
    pub(super) scores: Tensor,
    pub(super) p: Tensor,
    /// What a chunk's output has of the chunk itself, f32 (chunks, heads, 64, width); on the way back the gradient of what is
    /// written there.
    pub(super) within: Tensor,
    /// What a chunk adds to the state, f32 (chunks, state, values); on the way back to its gradient.
    pub(super) added: Tensor,
    /// States before chunks, (chunks, state, values).
    pub(super) before: Tensor,
    /// C·S, f32 (R, values).
    pub(super) of_state: Tensor,
    /// The gradient of y, (chunks, heads, 64, width); times e^G, (R, values).
    pub(super) d_by_head: Tensor,
    pub(super) d_since: Tensor,
    /// Gradients of the states behind chunks, (chunks, state, values), and B times them, f32 (R, values).
    pub(super) behind: Tensor,
    pub(super) of_end: Tensor,
    /// Gradient of p, f32 (chunks, heads, 64, 64), and of C·Bᵀ, (chunks, groups, 64, 64).
    pub(super) d_p: Tensor,
    pub(super) d_scores: Tensor,
    /// f32: gradients of G, (chunks, heads, 64), products of states with their gradients, (chunks, heads), and the gradients
    /// of B and C, (R, sides).
    pub(super) d_sums: Tensor,
    pub(super) dots: Tensor,
    pub(super) d_sides: Tensor,
}

impl Room {
    /// # Panics
    /// If the memory is too small.
    pub(super) fn of(
        memory: &Tensor,
        (shape, chunks): (SsdShape, usize),
        activations: Dtype,
        is_back: bool,
    ) -> Self {
        let mut first = 0;
        let mut all = sizes((shape, chunks), activations, is_back).map(|size| {
            let piece = memory.part(first, size.0, size.1);
            first += bytes(size);
            piece
        });
        let mut next = || match all.next() {
            Some(piece) => piece,
            None => unreachable!("there are as many pieces"),
        };
        let room = Self {
            steps: next(),
            sums: next(),
            sides: next(),
            written: next(),
            late: next(),
            scores: next(),
            p: next(),
            within: next(),
            added: next(),
            before: next(),
            of_state: next(),
            d_by_head: next(),
            d_since: next(),
            behind: next(),
            of_end: next(),
            d_p: next(),
            d_scores: next(),
            d_sums: next(),
            dots: memory.part(0, Dtype::F32, 0),
            d_sides: memory.part(0, Dtype::F32, 0),
        };
        let sums = room.steps.len();
        let (dots, sides) = match is_back {
            true => (chunks * shape.heads, chunks * CHUNK * shape.sides()),
            false => (0, 0),
        };
        let part = |first: usize, len: usize| match is_back {
            true => room.d_sums.part(4 * first, Dtype::F32, len),
            false => room.d_sums.clone(),
        };
        let d_sides = part(sums + dots.next_multiple_of(4), sides);
        let dots = part(sums, dots);
        Self {
            dots,
            d_sides,
            ..room
        }
    }
}

/// One group's part of what lies side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) shape: SsdShape,
    pub(super) index: usize,
}

impl Group {
    /// All groups of a shape.
    pub(super) fn all(shape: SsdShape) -> impl Iterator<Item = Self> {
        (0..shape.groups).map(move |index| Self { shape, index })
    }

    /// B of the first chunk, (64, state), of all sides.
    pub(super) fn b<'t>(self, sides: &'t Tensor) -> Mat<'t> {
        let first = self.index * self.shape.state;
        self.side(sides, first..first + self.shape.state)
    }

    /// C of it.
    pub(super) fn c<'t>(self, sides: &'t Tensor) -> Mat<'t> {
        let first = (self.shape.groups + self.index) * self.shape.state;
        self.side(sides, first..first + self.shape.state)
    }

    fn side<'t>(self, sides: &'t Tensor, columns: Range<usize>) -> Mat<'t> {
        sides.mat(CHUNK, self.shape.sides()).of_columns(columns)
    }

    /// Its heads' columns of rows, or of a state's, of the first chunk.
    pub(super) fn values<'t>(self, all: &'t Tensor, rows: usize) -> Mat<'t> {
        let width = self.shape.group_values();
        let first = self.index * width;
        all.mat(rows, self.shape.values())
            .of_columns(first..first + width)
    }

    /// Its scores of the first chunk, (64, 64).
    pub(super) fn scores<'t>(self, all: &'t Tensor) -> Mat<'t> {
        all.strided(self.index * CHUNK * CHUNK, CHUNK, CHUNK, CHUNK)
    }
}
