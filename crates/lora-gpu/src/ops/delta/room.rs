//! The memory that the rule works in: pieces of one.
use super::DeltaShape;
use crate::ops::chunks::CHUNK;
use crate::{Dtype, Tensor};

/// Pieces begin at a multiple of so many bytes.
const ALIGNED: usize = 256;

/// Pieces of memory.
const PIECES: usize = 31;

/// How much memory is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) shape: DeltaShape,
    pub(super) chunks: usize,
    pub(super) sequences: usize,
    pub(super) activations: Dtype,
    pub(super) is_back: bool,
}

impl Size {
    /// Types and lengths of the pieces, in the order of [`Room`].
    fn pieces(self) -> [(Dtype, usize); PIECES] {
        let s = self.shape;
        let rows = self.chunks * CHUNK;
        let (keys, heads) = (rows * s.key_heads, rows * s.value_heads);
        let (d, n) = (s.key_dim, s.value_dim);
        let states = self.chunks * s.states();
        let f = Dtype::F32;
        let a = self.activations;
        let back = |len: usize| if self.is_back { len } else { 0 };
        [
            (a, keys * d),
            (a, keys * d),
            (f, keys),
            (f, keys),
            (f, heads),
            (f, heads),
            (a, heads * d),
            (a, heads * d),
            (a, heads * d),
            (a, heads * n),
            (f, keys * CHUNK),
            (f, keys * CHUNK),
            (a, heads * CHUNK),
            (a, heads * CHUNK),
            (a, heads * d),
            (f, heads * n),
            (a, heads * n),
            (a, states),
            (f, self.sequences * s.states()),
            (a, back(heads * n)),
            (a, back(heads * n)),
            (a, back(states)),
            (a, back(heads * n)),
            (f, back(heads * d)),
            (f, back(heads * d)),
            (f, back(heads * d)),
            (f, back(heads * CHUNK)),
            (f, back(heads * CHUNK)),
            (f, back(2 * heads + self.chunks * s.value_heads)),
            (a, back(2 * keys * CHUNK)),
            (f, back(2 * keys * d)),
        ]
    }

    fn bytes(self) -> usize {
        self.pieces().into_iter().map(bytes).sum()
    }
}

fn bytes((dtype, len): (Dtype, usize)) -> usize {
    (len * dtype.bytes()).next_multiple_of(ALIGNED)
}

/// Bytes that the rule works in for so many chunks of so many sequences, with a way back or without.
#[must_use]
pub fn delta_bytes(
    shape: DeltaShape,
    (chunks, sequences): (usize, usize),
    activations: Dtype,
    is_back: bool,
) -> usize {
    let size = Size {
        shape,
        chunks,
        sequences,
        activations,
        is_back,
    };
    size.bytes()
}

/// The pieces. What is of heads lies by chunk and head, (chunks, heads, 64, width).
#[derive(Debug)]
pub(super) struct Room {
    /// Queries and keys divided by their lengths, of key heads, (…, d), and one over these, f32.
    pub(super) q: Tensor,
    pub(super) k: Tensor,
    pub(super) q_inverse: Tensor,
    pub(super) k_inverse: Tensor,
    /// β and G, f32 (chunks, value heads, 64).
    pub(super) betas: Tensor,
    pub(super) sums: Tensor,
    /// e^(G₆₃ − G)∘k, β∘e^G∘k and e^G∘q of value heads, (…, d).
    pub(super) late: Tensor,
    pub(super) known: Tensor,
    pub(super) asked: Tensor,
    /// β∘v, (…, n).
    pub(super) right: Tensor,
    /// q·kᵀ and k·kᵀ of key heads, f32 (…, 64).
    pub(super) qk: Tensor,
    pub(super) kk: Tensor,
    /// q·kᵀ∘D of value heads, and the inverse of the system, (…, 64).
    pub(super) p: Tensor,
    pub(super) solved: Tensor,
    /// The inverse times `known`, (…, d).
    pub(super) erased: Tensor,
    /// What is written, f32 (…, n), then the output; on the way back its gradient. And as products read it.
    pub(super) fresh: Tensor,
    pub(super) written: Tensor,
    /// States before chunks, (chunks, value heads, d, n), and of sequences as they go, f32.
    pub(super) before: Tensor,
    pub(super) states: Tensor,
    /// The gradients of o and of what is written, (…, n), and of states behind chunks.
    pub(super) d_o: Tensor,
    pub(super) d_written: Tensor,
    pub(super) behind: Tensor,
    /// The gradient of the system's right side, (…, n).
    pub(super) d_right: Tensor,
    /// Gradients of `asked`, `late` and `known`, f32.
    pub(super) d_asked: Tensor,
    pub(super) d_late: Tensor,
    pub(super) d_known: Tensor,
    /// Gradients of p and of the system's matrix, f32.
    pub(super) d_p: Tensor,
    pub(super) d_l: Tensor,
    /// f32: gradients of G and of β, (chunks, value heads, 64), and products of states with their gradients, (chunks, heads).
    pub(super) sums_back: Tensor,
    /// Gradients of q·kᵀ and k·kᵀ, (…, 64) of key heads each, and of q and k, f32 (…, d).
    pub(super) scores_back: Tensor,
    pub(super) keys_back: Tensor,
}

impl Room {
    /// # Panics
    /// If the memory is too small.
    pub(super) fn of(memory: &Tensor, size: Size) -> Self {
        let mut first = 0;
        let mut pieces = size.pieces().into_iter().map(|piece| {
            let tensor = memory.part(first, piece.0, piece.1);
            first += bytes(piece);
            tensor
        });
        let mut next = || match pieces.next() {
            Some(tensor) => tensor,
            None => unreachable!("there is a piece for each name"),
        };
        let room = Self {
            q: next(),
            k: next(),
            q_inverse: next(),
            k_inverse: next(),
            betas: next(),
            sums: next(),
            late: next(),
            known: next(),
            asked: next(),
            right: next(),
            qk: next(),
            kk: next(),
            p: next(),
            solved: next(),
            erased: next(),
            fresh: next(),
            written: next(),
            before: next(),
            states: next(),
            d_o: next(),
            d_written: next(),
            behind: next(),
            d_right: next(),
            d_asked: next(),
            d_late: next(),
            d_known: next(),
            d_p: next(),
            d_l: next(),
            sums_back: next(),
            scores_back: next(),
            keys_back: next(),
        };
        assert!(pieces.next().is_none(), "a name for each piece");
        room
    }
}
