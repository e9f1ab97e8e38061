//! The peak memory of a training process, from what it trains and on what.
use crate::{Footprint, Plan};

/// What a process trains, as memory sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Bytes of the base's weights in their file.
    pub base: u64,
    /// Trainable parameters.
    pub trainable: u64,
    /// Vectors as long as these that are held: the parameters themselves, AdamW's two moments, gradients, and copies.
    pub vectors: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Tokens of the rows that are held.
    pub tokens: usize,
}

/// Bytes at the peak, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peak {
    /// The base's weights, mapped from their file.
    pub base: u64,
    /// Activations that the backward pass needs.
    pub activations: u64,
    /// Scratch of the step and of the threads, head and loss.
    pub scratch: u64,
    /// Adapter, gradients, AdamW's moments, the best parameters.
    pub adapter: u64,
    /// Program, tokenizer, rows.
    pub process: u64,
}

/// Program, libraries and allocator; measured on data/tiny-chat (`just plan`).
const PROGRAM: u64 = 20 << 20;
/// A token's share of the tokenizer; measured on SmolLM2 (49,152 tokens).
const TOKENIZER: u64 = 750;
/// A row's token: id, label, and the text that it stands for.
const ROW_TOKEN: u64 = 16;

impl Peak {
    /// The peak of a process whose steps take `step` under `plan`.
    #[must_use]
    pub fn of(process: &Process, step: &Footprint, plan: Plan) -> Self {
        let activations = step.activations(plan) as u64;
        let threads = (process.threads * step.per_thread) as u64;
        Self {
            base: process.base,
            activations,
            scratch: step.total(plan) as u64 - activations + threads,
            adapter: 4 * process.trainable * process.vectors as u64,
            process: PROGRAM
                + TOKENIZER * process.vocabulary as u64
                + ROW_TOKEN * process.tokens as u64,
        }
    }

    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.base + self.activations + self.scratch + self.adapter + self.process
    }
}
