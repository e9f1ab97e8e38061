//! One module's factors: those of the adapters, and those of the result.

/// One adapter's share in one module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term<'a> {
    /// Which adapter.
    pub(super) index: usize,
    /// (rank, in) and (out, rank), row-major.
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
    pub(super) rank: usize,
    /// wᵢ·sᵢ.
    pub(super) weight: f64,
}

/// A module's new factors with scaling 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Factors {
    pub(super) a: Vec<f32>,
    pub(super) b: Vec<f32>,
    pub(super) rank: usize,
}
