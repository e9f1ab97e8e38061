//! The composite route: the same decoder as a plain candle graph of differentiable operations; the oracle for the fused
//! route's gradients, and the one that can train all weights.
//!
//! Everything here is written for clarity and for any device, not for speed: the graph keeps every intermediate value, and
//! candle also computes the gradients of frozen weights. Operations of candle that silently cut gradients (fused softmax,
//! RMSNorm and rotary embedding) are not used.
//! - `graph`: the decoder, from ids to hidden states and logits; `attend`: its attention, `mlp` its MLPs, `experts` its mixtures, `balance` the loss of
//!   theirs.
//! - `per_layer`: inputs of each layer; the norm of values, the factor of a layer's output.
//! - `patches`: an adapter in the graph.
//! - `rope`: rotary embedding tables.
//! - `softmax`: soft cap, mask and softmax of scores.
//! - `loss`: cross-entropy on supervised rows.
//! - `route`: [`Composite`], a base with an adapter.
//! - `full`: [`FullModel`], all weights as parameters; `full_passes`: their losses and gradients.
mod attend;
mod balance;
mod delta;
mod experts;
mod full;
mod full_passes;
mod graph;
mod loss;
mod mamba;
mod mlp;
mod patches;
mod per_layer;
mod rope;
mod route;
mod short_conv;
mod softmax;

pub use full::FullModel;
pub use route::Composite;
