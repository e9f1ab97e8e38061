//! Heads, their widths and places, and the length of a chunk.

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
    pub(super) fn query_scale(self) -> f32 {
        1.0 / (self.key_dim as f32).sqrt()
    }

    /// First column of a key head's queries.
    pub(super) fn query(self, head: usize) -> usize {
        head * self.key_dim
    }

    /// First column of a key head's keys.
    pub(super) fn key(self, head: usize) -> usize {
        (self.key_heads + head) * self.key_dim
    }

    /// First column of a value head's values.
    pub(super) fn value(self, head: usize) -> usize {
        2 * self.key_heads * self.key_dim + head * self.value_dim
    }

    /// # Panics
    /// If a width is 0 or value heads do not fall into groups.
    pub(super) fn check(self) {
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
