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

/// What losses are multiplied by before their gradients are taken, where experts are to be balanced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// Σ nll of the pack.
    pub nll: f32,
    /// The loss for the balance of experts, [`lora_kernels::experts::Balance`], over all of the pack's tokens.
    pub balance: f32,
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
