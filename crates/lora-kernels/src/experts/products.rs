//! Grouped products: each expert's weight times the rows that are its own.
use super::Routing;
use crate::linear::{self, Workspace};
use crate::matrix::{Mat, Place, Write};
use crate::rows::Rows;

/// y (T·k, out) = x (T·k, in) · Wᵀ, each row with the weight (out, in) of its expert.
///
/// # Panics
/// If the shapes do not fit, or weights are fewer than experts.
pub fn forward<W: Rows>(
    weights: &[W],
    x: &[f32],
    routing: &Routing,
    y: &mut [f32],
    workspace: &mut Workspace,
) {
    for (expert, rows) in routing.ranges() {
        let weight = &weights[expert];
        let (out_features, in_features) = (weight.rows(), weight.columns());
        let x = &x[rows.start * in_features..rows.end * in_features];
        let y = &mut y[rows.start * out_features..rows.end * out_features];
        linear::forward(
            weight,
            Mat::new(x, rows.len(), in_features),
            Place::new(y, rows.len(), out_features),
            workspace,
        );
    }
}

/// dx (T·k, in) = dy (T·k, out) · W, each row with the weight of its expert; added if told.
///
/// # Panics
/// As for [`forward`].
pub fn backward<W: Rows>(
    weights: &[W],
    dy: &[f32],
    routing: &Routing,
    (dx, write): (&mut [f32], Write),
    workspace: &mut Workspace,
) {
    for (expert, rows) in routing.ranges() {
        let weight = &weights[expert];
        let (out_features, in_features) = (weight.rows(), weight.columns());
        let dy = &dy[rows.start * out_features..rows.end * out_features];
        let dx = &mut dx[rows.start * in_features..rows.end * in_features];
        linear::backward(
            weight,
            Mat::new(dy, rows.len(), out_features),
            Place::new(dx, rows.len(), in_features).with(write),
            workspace,
        );
    }
}
