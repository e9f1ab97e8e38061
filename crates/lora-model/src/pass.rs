//! What a pass through the decoder is given beside its rows, and what it gives.

/// Loss of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SequenceLoss {
    /// Sum of −log p over supervised tokens, nats.
    pub nll: f64,
    /// Supervised tokens.
    pub tokens: usize,
    /// Of those, how many were the argmax.
    pub correct: usize,
}

/// Dropout on the adapters' inputs; the mask is a function of (seed, step, module, position, feature).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of dropping a value, in [0, 1).
    pub p: f32,
    /// Seed of the run.
    pub seed: u64,
    /// Micro-step counter of the run.
    pub step: u64,
}
