//! Gated DeltaNet (Yang, Kautz and Hatamizadeh 2024): a causal convolution, a rule that keeps a state instead of all keys and
//! values, and a gated norm. What a sequence has read is a matrix S (keys' width, values' width) a head, begun anew at each
//! sequence; token t with g ≤ 0 and β in (0, 1) does
//!
//! ```text
//! S ← e^g·S;  S ← S + k·(β·(v − Sᵀk))ᵀ;  o = Sᵀq/√d
//! ```
//!
//! with q and k divided by their lengths. It is computed in chunks of [`CHUNK`] tokens: within one, the updates are the
//! solution of a triangular system, and only the state goes from chunk to chunk, so that time is linear in tokens.
//!
//! `conv` is the convolution, `gates` makes g and β, `rule` computes forward and `gradient` backward, both of what `keys` and
//! `values` hold of a chunk; `block` multiplies; `gated_norm` follows.
mod block;
pub mod conv;
pub mod gated_norm;
mod gates;
mod gradient;
mod keys;
mod rule;
mod values;

pub use gates::Gates;
pub use gradient::{Gradients, backward};
pub use keys::{l2_backward, l2_norm};
pub use rule::{Inputs, forward};

/// Tokens of a chunk.
pub const CHUNK: usize = 64;

/// Heads and their widths. Each key head, with its queries, serves `value_heads / key_heads` neighbouring value heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Heads of queries and of keys.
    pub key_heads: usize,
    /// Heads of values, gates and states.
    pub value_heads: usize,
    /// Width of a query and of a key.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
}

impl Shape {
    /// Value heads of a key head.
    #[must_use]
    pub fn group(self) -> usize {
        self.value_heads / self.key_heads
    }

    /// Columns of queries, keys and values side by side: what the convolution runs over.
    #[must_use]
    pub fn columns(self) -> usize {
        2 * self.key_heads * self.key_dim + self.values()
    }

    /// Columns of values, and of the output.
    #[must_use]
    pub fn values(self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Values of a head's state.
    #[must_use]
    pub fn state(self) -> usize {
        self.key_dim * self.value_dim
    }

    /// What queries are multiplied by.
    fn query_scale(self) -> f32 {
        1.0 / (self.key_dim as f32).sqrt()
    }

    /// First column of a key head's queries.
    fn query(self, head: usize) -> usize {
        head * self.key_dim
    }

    /// First column of a key head's keys.
    fn key(self, head: usize) -> usize {
        (self.key_heads + head) * self.key_dim
    }

    /// First column of a value head's values.
    fn value(self, head: usize) -> usize {
        2 * self.key_heads * self.key_dim + head * self.value_dim
    }

    /// # Panics
    /// If a width is 0 or value heads do not fall into groups.
    fn check(self) {
        let widths = [
            self.key_heads,
            self.value_heads,
            self.key_dim,
            self.value_dim,
        ];
        assert!(
            !widths.contains(&0) && self.value_heads.is_multiple_of(self.key_heads),
            "{} value heads do not fall into groups of {} key heads",
            self.value_heads,
            self.key_heads
        );
    }
}

/// Values that a thread holds for the backward pass of sequences of at most so many tokens.
#[must_use]
pub fn scratch_len(shape: Shape, longest: usize) -> usize {
    let states = longest.div_ceil(CHUNK) * shape.group() * shape.state();
    states + keys::len(shape) + values::len(shape) + gradient::len(shape)
}
