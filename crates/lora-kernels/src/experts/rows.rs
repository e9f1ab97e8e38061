//! Rows of tokens sorted by expert, and back. Every output row is one task's sum in a fixed order.
use super::Routing;
use crate::vector::dot;
use rayon::prelude::*;

/// out (T·k, H) = each row's token's row of x (T, H).
///
/// # Panics
/// If the lengths are not those of the routing.
pub fn copy_rows(x: &[f32], routing: &Routing, out: &mut [f32]) {
    let width = width(x.len(), routing.tokens());
    assert_eq!(out.len(), routing.len() * width, "rows of experts");
    out.par_chunks_mut(width)
        .enumerate()
        .for_each(|(row, out)| {
            let (token, _) = routing.of_row(row);
            out.copy_from_slice(&x[token * width..(token + 1) * width]);
        });
}

/// out (T, H) += the sum of each token's rows (T·k, H), times their weights if they are `weighted`.
///
/// # Panics
/// If the lengths are not those of the routing.
pub fn add_rows(rows: &[f32], routing: &Routing, weighted: bool, out: &mut [f32]) {
    let width = width(out.len(), routing.tokens());
    assert_eq!(rows.len(), routing.len() * width, "rows of experts");
    out.par_chunks_mut(width)
        .enumerate()
        .for_each(|(token, out)| {
            for (row, weight) in routing.of_token(token) {
                let weight = if weighted { weight } else { 1.0 };
                let values = &rows[row * width..(row + 1) * width];
                out.iter_mut()
                    .zip(values)
                    .for_each(|(o, v)| *o += weight * v);
            }
        });
}

/// The gradient of each row's weight, d·y of that row, goes to `d_weights` (T·k); the row of d (T·k, I) is multiplied by
/// its weight. y = f(x)·W, of which d·Wᵀ and f(x) are given here.
///
/// # Panics
/// If the lengths are not those of the routing.
pub fn weigh(d: &mut [f32], x: &[f32], routing: &Routing, d_weights: &mut [f32]) {
    let width = width(x.len(), routing.len());
    assert_eq!(
        (d.len(), d_weights.len()),
        (x.len(), routing.len()),
        "rows of experts"
    );
    d.par_chunks_mut(width)
        .zip(x.par_chunks(width))
        .zip(d_weights)
        .enumerate()
        .for_each(|(row, ((d, x), d_weight))| {
            *d_weight = dot(d, x);
            let (_, weight) = routing.of_row(row);
            d.iter_mut().for_each(|d| *d *= weight);
        });
}

/// Each row of values (T·k, n) times its weight.
///
/// # Panics
/// If the length is not that of the routing.
pub fn scale_rows(values: &mut [f32], routing: &Routing) {
    let width = width(values.len(), routing.len());
    assert_eq!(values.len(), routing.len() * width, "rows of experts");
    values
        .par_chunks_mut(width)
        .enumerate()
        .for_each(|(row, values)| {
            let (_, weight) = routing.of_row(row);
            values.iter_mut().for_each(|v| *v *= weight);
        });
}

/// Values of a row; at least 1, so that no rows are no chunks.
fn width(values: usize, rows: usize) -> usize {
    (values / rows.max(1)).max(1)
}
