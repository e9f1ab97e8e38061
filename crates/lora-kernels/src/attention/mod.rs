//! Causal attention over packed sequences with grouped queries, with or without a sliding window and a soft cap on the
//! scores: nothing above the diagonal or outside the window, no T×T tensor kept.
//!
//! A task walks blocks of rows (a query of a head each), so its scratch is block × keys. Scores stand transposed, keys by
//! rows: the softmax then runs along vectors, and every product reads its operands where they lie. The forward pass saves
//! the log-sum-exp of each row, from which the backward pass recomputes the probabilities. [`crate::layout::Layout`] says
//! which rows see which.
//!
//! `shape` is a layer's, `task` some queries of one key/value head with the keys that they see, `block` some rows of a task
//! and their products, `softmax` what happens to scores; `forward` and `backward` hand out tasks, `gradient` is one of the way back.
mod backward;
mod block;
mod forward;
mod gradient;
mod shape;
mod softmax;
mod task;
#[cfg(test)]
mod tests;

pub use backward::{Gradients, Workspace, backward, workspace_len};
pub use block::scratch_len;
pub use forward::{Inputs, Outputs, forward};
pub use gradient::Saved;
pub use shape::Shape;
