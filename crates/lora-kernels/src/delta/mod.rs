//! Gated DeltaNet (Yang, Kautz and Hatamizadeh 2024): a causal convolution, a rule that keeps a state instead of all keys and
//! values, and a gated norm. What a sequence has read is a matrix S (keys' width, values' width) a head, begun anew at each
//! sequence; token t with g ≤ 0 and β in (0, 1) does
//!
//! ```text
//! S ← e^g·S;  S ← S + k·(β·(v − Sᵀk))ᵀ;  o = Sᵀq/√d
//! ```
//!
//! with q and k divided by their lengths. It is computed in chunks of [`CHUNK`] tokens: within one, the updates are the
//! solution of a triangular system, and only the state goes from chunk to chunk, so that time is linear in tokens.
//!
//! [`crate::conv`] is the convolution, `inputs` has what is read, and makes g and β of it, `rule` computes forward and
//! `gradient` backward (`chunk`), both of what `keys` and `values` hold of a chunk; `decays` has what fades from token to
//! token, `block` multiplies; `gated_norm` follows.
mod chunk;
mod decays;
pub mod gated_norm;
mod gradient;
mod inputs;
mod keys;
mod rule;
mod shape;
mod values;

pub(crate) use decays::{Decays, decay};
pub use gradient::{Gradients, backward, scratch_len};
pub use inputs::{Gates, Inputs};
pub use keys::{l2_backward, l2_norm};
pub(crate) use rule::chunks;
pub use rule::forward;
pub use shape::{CHUNK, Shape};
