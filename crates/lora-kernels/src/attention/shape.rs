//! The shape of an attention layer, and how its rows lie in scratch.

/// Shape of an attention layer.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key/value heads; query head h uses key/value head h / (heads / kv_heads).
    pub kv_heads: usize,
    /// Width of a head, d.
    pub head_dim: usize,
    /// What scores are multiplied by, 1/√d for most.
    pub scale: f32,
    /// Keys that a query sees at most, itself included (i − j < window), at least 1; None: all before it.
    pub window: Option<usize>,
    /// c of c·tanh(score/c), applied after the scale (Gemma 2).
    pub softcap: Option<f32>,
}

impl Shape {
    /// # Panics
    /// If heads do not fall into groups, or a query sees nothing.
    pub(super) fn check(self) {
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "{} query heads share {} key/value heads",
            self.heads,
            self.kv_heads
        );
        assert!(self.window != Some(0), "a window of no keys");
    }

    /// Query heads that share a key/value head.
    pub(super) fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// Values between two gathered rows of a head: an odd number of cache lines, so that a column of them does not fall
    /// into few sets of the cache.
    pub(super) fn wide(self) -> usize {
        odd_lines(self.head_dim)
    }
}

/// `n`, rounded up to an odd number of cache lines.
pub(super) fn odd_lines(n: usize) -> usize {
    (n.div_ceil(LINE) | 1) * LINE
}

/// Values in a cache line.
pub(super) const LINE: usize = 16;
