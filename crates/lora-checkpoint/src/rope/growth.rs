//! Queries that grow with their position.

/// Llama 4's growth of queries: at position p they are multiplied by 1 + β·ln(1 + ⌊p / period⌋), so that attention stays as
/// sharp in long texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// β (`llama_4_scaling_beta`).
    pub beta: f64,
    /// Positions of a step: context length of the original model, tokens.
    pub original_max_position_embeddings: usize,
}

impl Growth {
    /// What a query at this position is multiplied by.
    #[must_use]
    pub fn at(&self, position: usize) -> f64 {
        let steps = position / self.original_max_position_embeddings;
        1.0 + self.beta * (steps as f64).ln_1p()
    }
}
