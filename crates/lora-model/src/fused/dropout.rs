//! Dropout of an adapter's input, row by row.
use lora_random::Mask;
use rayon::prelude::*;

/// The rows of a layer's input: how many, and the first one's number among all (the dropout's key).
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsOf {
    pub(super) first: usize,
    pub(super) count: usize,
}

impl RowsOf {
    /// All of so many.
    pub(super) fn all(count: usize) -> Self {
        Self { first: 0, count }
    }
}

/// out = mask(x), both (T, in).
pub(super) fn drop_rows(mask: Mask, rows: RowsOf, x: &[f32], out: &mut [f32]) {
    let width = x.len() / rows.count.max(1);
    out.par_chunks_mut(width.max(1))
        .zip(x.par_chunks(width.max(1)))
        .enumerate()
        .for_each(|(t, (out, x))| mask.apply(((rows.first + t) * width) as u64, x, out));
}

/// Values that a thread subtracts at once.
const PART: usize = 1 << 14;

/// out = a − b.
pub(super) fn difference(a: &[f32], b: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(PART)
        .zip(a.par_chunks(PART))
        .zip(b.par_chunks(PART))
        .for_each(|((out, a), b)| {
            let pairs = a.iter().zip(b);
            out.iter_mut()
                .zip(pairs)
                .for_each(|(out, (a, b))| *out = a - b);
        });
}
