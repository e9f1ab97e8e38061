//! Biases of experts: each row has that of its expert. They are frozen; the weights of what they are added to are not.
use super::Routing;
use crate::vector::{add, dot};
use rayon::prelude::*;

/// y (T·k, out) += the bias (out) of each row's expert.
///
/// # Panics
/// If the lengths do not fit, or biases are fewer than experts.
pub fn add_biases(biases: &[Vec<f32>], routing: &Routing, y: &mut [f32]) {
    for (expert, rows) in routing.ranges() {
        let bias = &biases[expert];
        let y = &mut y[rows.start * bias.len()..rows.end * bias.len()];
        y.par_chunks_mut(bias.len()).for_each(|row| add(row, bias));
    }
}

/// The gradient of each row's weight, d_weights (T·k), += dy·bias of its expert, for dy (T·k, out).
///
/// # Panics
/// As for [`add_biases`].
pub fn weigh_biases(biases: &[Vec<f32>], dy: &[f32], routing: &Routing, d_weights: &mut [f32]) {
    for (expert, rows) in routing.ranges() {
        let bias = &biases[expert];
        let dy = &dy[rows.start * bias.len()..rows.end * bias.len()];
        d_weights[rows]
            .par_iter_mut()
            .zip(dy.par_chunks(bias.len()))
            .for_each(|(d, dy)| *d += dot(dy, bias));
    }
}
