//! Several adapters with weights → one adapter. What a module's factors become is here and in `sparse`; what it costs
//! against the exact sum Σ wᵢ·sᵢ·Bᵢ·Aᵢ is measured and handed back.
//!
//! The ways are those of PEFT's `add_weighted_adapter`, with one difference: the result always has scaling 1. PEFT keeps
//! `use_rslora` of the first adapter with alpha = rank, so that its result is √rank times too large under rsLoRA.
mod assemble;
mod parts;
mod sparse;
mod sum;
mod types;

pub use sum::combine;
pub use types::{Combination, Combined, Deviation};
