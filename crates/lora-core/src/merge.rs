//! The merge: W' = W + s·B·A.

/// Adds s·B·A to rows `first..` of W in f32 (the caller rounds once): `rows` holds whole rows of W, (n, in) row-major;
/// `a` is (rank, in), `b` is (out, rank). The delta of an element is summed over the rank first, then scaled, then added
/// (PEFT's `get_delta_weight`).
///
/// # Panics
/// If `rank` is 0, or the rows lie outside of B.
pub fn add_delta(rows: &mut [f32], first: usize, a: &[f32], b: &[f32], rank: usize, scaling: f32) {
    let in_features = a.len() / rank;
    let mut delta = vec![0f32; in_features];
    for (i, row) in rows.chunks_exact_mut(in_features).enumerate() {
        let weights = &b[(first + i) * rank..(first + i + 1) * rank];
        delta.fill(0.0);
        for (&w, a_row) in weights.iter().zip(a.chunks_exact(in_features)) {
            for (d, &x) in delta.iter_mut().zip(a_row) {
                *d += w * x;
            }
        }
        for (y, &d) in row.iter_mut().zip(&delta) {
            *y += scaling * d;
        }
    }
}
