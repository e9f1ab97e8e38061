//! What this machine can do: the rate of one matrix product, beside which others are measured.
use crate::matmul::matmul;
use crate::matrix::{Mat, Place};
use std::time::Instant;

/// FLOP/s of a matrix product of the size that training has, (512, 1024) · (1024, 1024), on so many threads: the best of
/// several, since others share the machine.
#[must_use]
pub fn measure_peak(threads: usize) -> f64 {
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(peak_of_pool),
        Err(_) => peak_of_pool(),
    }
}

fn peak_of_pool() -> f64 {
    let (m, n, k) = (512, 1024, 1024);
    let left = values(m * k);
    let right = values(n * k);
    let mut product = vec![0.0; m * n];
    let seconds = (0..12).map(|_| {
        let began = Instant::now();
        matmul(
            Mat::new(&left, m, k),
            Mat::new(&right, n, k).t(),
            1.0,
            Place::new(&mut product, m, n),
        );
        began.elapsed().as_secs_f64()
    });
    2.0 * (m * n * k) as f64 / seconds.fold(f64::INFINITY, f64::min)
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 13) as f32 * 0.1).collect()
}
