//! What trains at the embedding or the head, as memory sees it.

/// What of a table trains: all of it, rows, or factors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TableNeeds {
    /// The whole table.
    pub(super) is_whole: bool,
    /// So many rows.
    pub(super) rows: usize,
    /// Columns of factors.
    pub(super) columns: usize,
    pub(super) has_magnitudes: bool,
    pub(super) trains_bias: bool,
}

impl TableNeeds {
    /// Whether anything trains.
    pub(super) fn is_any(self) -> bool {
        self != Self::default()
    }
}
