//! Columns of a stacked matrix: linear layers that were stacked into one give their outputs side by side.
use rayon::prelude::*;

/// part (T, columns) = the columns from `at` of all (T, width).
pub fn take(all: &[f32], width: usize, at: usize, part: &mut [f32], columns: usize) {
    let rows = part.par_chunks_mut(columns).zip(all.par_chunks(width));
    rows.for_each(|(part, all)| part.copy_from_slice(&all[at..at + columns]));
}

/// The columns from `at` of all (T, width) = part (T, columns).
pub fn put(all: &mut [f32], width: usize, at: usize, part: &[f32], columns: usize) {
    let rows = all.par_chunks_mut(width).zip(part.par_chunks(columns));
    rows.for_each(|(all, part)| all[at..at + columns].copy_from_slice(part));
}
