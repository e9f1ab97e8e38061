//! Mixtures of experts (Shazeer et al. 2017): each token goes through k of E layers, which a router chooses, and what they
//! give is summed with the router's weights.
//! - `choice`: what a router makes of its logits, and the weights of the chosen.
//! - `routing`: which tokens each expert has, and the way back to the logits.
//! - `rows`: tokens' rows sorted by expert, and back.
//! - `balance`: the loss that keeps experts balanced, and its gradient.
//! - `biases`: each expert's, beside its rows.
//! - `products`: each expert times its own rows; `factors`: its LoRA beside it.
mod balance;
mod biases;
mod choice;
mod factors;
mod products;
mod routing;
mod rows;

pub use balance::{Balance, add_balance_gradients};
pub use biases::{add_biases, weigh_biases};
pub use choice::{Choice, Scores, score};
pub use factors::Factors;
pub use products::{backward, forward};
pub use routing::Routing;
pub use rows::{add_rows, copy_rows, scale_rows, weigh};
