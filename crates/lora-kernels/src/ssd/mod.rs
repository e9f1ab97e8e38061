//! Mamba-2's state space layer (Dao and Gu 2024, "structured state space duality"): what a sequence has read is a matrix S
//! (state's width, head's width) a head, begun anew at each sequence. Token t, with a step Δ > 0 and a rate A < 0 of the head,
//! does
//!
//! ```text
//! S ← e^(Δ·A)·S + B·(Δ·x)ᵀ;  y = Sᵀ·C + D·x
//! ```
//!
//! where B and C are shared by the heads of a group. That is linear attention with queries C and keys B that fades, so it is
//! computed in chunks of [`CHUNK`] tokens as [`crate::delta`] is, without its triangular system: only the state goes from
//! chunk to chunk, and time is linear in tokens.
//!
//! [`crate::conv`] stands before it, `inputs` has what is read, and makes Δ of it; `rule` computes forward and `gradient`
//! backward (`chunk`), both of what `sides` holds of a group and `head` of a head; `gated_norm` follows.
mod chunk;
pub mod gated_norm;
mod gradient;
mod head;
mod inputs;
mod rule;
mod shape;
mod sides;

pub use crate::delta::CHUNK;
pub use gradient::{Gradients, backward, scratch_len, shared_len};
pub use inputs::{Inputs, Learned};
pub use rule::forward;
pub use shape::Shape;
