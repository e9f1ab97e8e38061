//! Token embedding: rows of a frozen matrix, widened where they lie.
use crate::Rows;
use rayon::prelude::*;

/// x (T, H) = scale · rows `ids` of the embedding matrix.
///
/// # Panics
/// If an id lies outside the vocabulary.
pub fn forward(table: &dyn Rows, ids: &[u32], scale: f32, x: &mut [f32]) {
    x.par_chunks_mut(table.columns()).zip(ids).for_each(|(row, &id)| {
        table.read_rows(id as usize, row);
        if scale != 1.0 {
            row.iter_mut().for_each(|v| *v *= scale);
        }
    });
}
