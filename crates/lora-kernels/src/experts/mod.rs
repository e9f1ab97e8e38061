//! Mixtures of experts (Shazeer et al. 2017): each token goes through k of E layers, which a router chooses, and what they
//! give is summed with the router's weights.
//! - `routing`: which tokens each expert has, and with which weights; the softmax of a router, both ways.
//! - `rows`: tokens' rows sorted by expert, and back.
//! - `balance`: the loss that keeps experts balanced, and its gradient.
//! - `biases`: each expert's, beside its rows.
//! - `products`: each expert times its own rows; `factors`: its LoRA beside it.
mod balance;
mod biases;
mod factors;
mod products;
mod routing;
mod rows;

pub use balance::{Balance, add_balance_gradients};
pub use biases::{add_biases, weigh_biases};
pub use factors::Factors;
pub use products::{backward, forward};
pub use routing::{Choice, Routing, softmax};
pub use rows::{add_rows, copy_rows, scale_rows, weigh};
