//! A short convolution between two gates (LFM2, Liquid AI 2025; transformers' `Lfm2ShortConv`): of b, c and x side by side,
//! y = c∘conv(b∘x).
use crate::conv::{self, Taps};
use crate::dispatch::vectorised;
use crate::layout::Layout;
use rayon::prelude::*;

/// Rows of a task.
const ROWS: usize = 32;

/// y (T, columns) of `sides` (T, 3·columns): b, c and x of each token. `entered` (T, columns) gets b∘x, what the convolution
/// reads; `tails` are those of [`conv::forward`].
///
/// # Panics
/// If lengths don't fit, or as [`conv::forward`].
pub fn forward(
    taps: Taps<'_>,
    layout: &Layout,
    sides: &[f32],
    [entered, y]: [&mut [f32]; 2],
    tails: Option<&mut [f32]>,
) {
    let columns = taps.columns;
    assert_eq!((sides.len(), y.len()), (3 * entered.len(), entered.len()));
    enter(sides, columns, entered);
    conv::forward(taps, layout, entered, y, tails);
    y.par_chunks_mut(columns)
        .zip(sides.par_chunks(3 * columns))
        .with_min_len(ROWS)
        .for_each(|(y, sides)| multiply(y, &sides[columns..2 * columns]));
}

/// The gradient of `sides`, of the same shape, from that of y, `dy`; what `scratch` (T, columns each) holds is overwritten.
///
/// # Panics
/// If lengths don't fit, or as [`conv::backward`].
pub fn backward(
    taps: Taps<'_>,
    layout: &Layout,
    sides: &[f32],
    dy: &[f32],
    scratch: [&mut [f32]; 3],
    d_sides: &mut [f32],
) {
    let columns = taps.columns;
    let [entered, convolved, d_entered] = scratch;
    let (size, all) = (dy.len(), 3 * dy.len());
    assert_eq!((sides.len(), d_sides.len()), (all, all));
    assert_eq!([entered.len(), convolved.len(), d_entered.len()], [size; 3]);
    enter(sides, columns, entered);
    conv::forward(taps, layout, entered, convolved, None);
    d_sides
        .par_chunks_mut(3 * columns)
        .zip(sides.par_chunks(3 * columns))
        .zip(convolved.par_chunks_mut(columns))
        .zip(dy.par_chunks(columns))
        .with_min_len(ROWS)
        .for_each(|(((d, sides), convolved), dy)| {
            product(&mut d[columns..2 * columns], convolved, dy);
            product(convolved, &sides[columns..2 * columns], dy);
        });
    conv::backward(taps, layout, entered, convolved, d_entered);
    d_sides
        .par_chunks_mut(3 * columns)
        .zip(sides.par_chunks(3 * columns))
        .zip(d_entered.par_chunks(columns))
        .with_min_len(ROWS)
        .for_each(|((d, sides), d_entered)| {
            product(&mut d[..columns], d_entered, &sides[2 * columns..]);
            product(&mut d[2 * columns..], d_entered, &sides[..columns]);
        });
}

/// b∘x.
fn enter(sides: &[f32], columns: usize, entered: &mut [f32]) {
    entered
        .par_chunks_mut(columns)
        .zip(sides.par_chunks(3 * columns))
        .with_min_len(ROWS)
        .for_each(|(entered, sides)| product(entered, &sides[..columns], &sides[2 * columns..]));
}

vectorised! {
    fn multiply(y: &mut [f32], c: &[f32]) {
        for (y, &c) in y.iter_mut().zip(c) {
            *y *= c;
        }
    }
}

vectorised! {
    fn product(y: &mut [f32], a: &[f32], b: &[f32]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a * b;
        }
    }
}
