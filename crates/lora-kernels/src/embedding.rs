//! Token embedding: rows of a matrix, widened where they lie; and the sums on the way back.
use crate::rows::Rows;
use rayon::prelude::*;

/// x (T, H) = scale · rows `ids` of the embedding matrix.
///
/// # Panics
/// If an id lies outside the vocabulary.
pub fn forward(table: &dyn Rows, ids: &[u32], scale: f32, x: &mut [f32]) {
    x.par_chunks_mut(table.columns())
        .zip(ids)
        .for_each(|(row, &id)| {
            table.read_rows(id as usize, row);
            if scale != 1.0 {
                row.iter_mut().for_each(|v| *v *= scale);
            }
        });
}

/// out (T, r) = columns `ids` of a (r, V): what LoRA's A makes of the tokens.
///
/// # Panics
/// If an id lies outside the vocabulary.
pub fn gather_columns(a: &[f32], rank: usize, ids: &[u32], out: &mut [f32]) {
    let vocabulary = a.len() / rank;
    out.par_chunks_mut(rank).zip(ids).for_each(|(row, &id)| {
        row.iter_mut()
            .enumerate()
            .for_each(|(j, v)| *v = a[j * vocabulary + id as usize]);
    });
}

/// da (r, V) += d (T, r) at the columns `ids`.
///
/// # Panics
/// If an id lies outside the vocabulary.
pub fn scatter_columns(d: &[f32], rank: usize, ids: &[u32], da: &mut [f32]) {
    let vocabulary = da.len() / rank;
    da.par_chunks_mut(vocabulary)
        .enumerate()
        .for_each(|(j, row)| {
            ids.iter()
                .zip(d.chunks_exact(rank))
                .for_each(|(&id, d)| row[id as usize] += d[j]);
        });
}

/// de (V, H) += scale · dx (T, H) at the rows `ids`, in the order of the tokens.
///
/// # Panics
/// If an id lies outside the vocabulary.
pub fn scatter_rows(dx: &[f32], width: usize, ids: &[u32], scale: f32, de: &mut [f32]) {
    for (&id, dx) in ids.iter().zip(dx.chunks_exact(width)) {
        let row = &mut de[id as usize * width..(id as usize + 1) * width];
        row.iter_mut()
            .zip(dx)
            .for_each(|(sum, &d)| *sum += scale * d);
    }
}
