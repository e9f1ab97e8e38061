//! Vectors that are kept and grow with the batch.

/// Room for `n` values, and as many again: batches differ in length, a vector that moves leaves a hole of its size behind,
/// and room that is never touched costs no memory.
pub fn reserve<T>(values: &mut Vec<T>, n: usize) {
    if values.capacity() < n {
        values.reserve_exact(2 * n - values.len());
    }
}

/// At least `n` values.
pub fn grow<T: Clone + Default>(values: &mut Vec<T>, n: usize) {
    if values.len() < n {
        reserve(values, n);
        values.resize(n, T::default());
    }
}
