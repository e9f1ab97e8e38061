//! Matrix products: the left operand is packed once and may serve several products, the right one is packed panel by panel
//! from wherever and however it is stored, so that a weight is widened straight into the form that the tile reads.
//!
//! Each output is one sum over the inner dimension, cut into blocks whose length depends on the shapes alone; threads split
//! the outputs. The result therefore depends on the instruction set, but never on the number of threads.
mod direct;
mod few;
mod isa;
mod left;
mod outer;
mod product;
mod right;
mod simd;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use direct::{Direct, Operand, View};
pub(crate) use few::{FEW, few_rows};
pub(crate) use isa::Transpose;
#[cfg(test)]
pub(crate) use isa::with_each;
pub(crate) use left::Left;
pub(crate) use outer::{Gradient, outer};
pub(crate) use product::Product;
pub use product::scratch_len;
pub(crate) use right::{MatRight, Plain, Right, Transposed};

/// The instruction set that products are computed with on this machine, for people.
#[must_use]
pub fn instruction_set() -> &'static str {
    isa::best().name
}

/// Transposes `rows` rows of `steps` values, `stride` apart in `src`: a step is `width` values in `dst`, zero behind the rows.
///
/// # Panics
/// If they lie outside their slices.
pub(crate) fn transpose(
    src: &[f32],
    stride: usize,
    rows: usize,
    steps: usize,
    dst: &mut [f32],
    width: usize,
) {
    assert!(
        rows <= width && steps * width <= dst.len(),
        "transposed rows outside their slice"
    );
    assert!(
        rows == 0 || (rows - 1) * stride + steps <= src.len(),
        "rows outside their slice"
    );
    // SAFETY: asserted, and the kernels are those of this machine.
    unsafe { (isa::best().transpose)(src.as_ptr(), stride, rows, steps, dst.as_mut_ptr(), width) }
}

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
    use crate::matmul::{Mat, MatMut, matmul};
    let (m, n, k) = (512, 1024, 1024);
    let values = |len: usize| {
        (0..len)
            .map(|i| (i % 13) as f32 * 0.1)
            .collect::<Vec<f32>>()
    };
    let (a, b, mut c) = (values(m * k), values(n * k), vec![0.0; m * n]);
    let once = |_| {
        let began = std::time::Instant::now();
        matmul(
            MatMut::new(&mut c, m, n),
            false,
            1.0,
            Mat::new(&a, m, k),
            Mat::new(&b, n, k).t(),
            true,
        );
        began.elapsed().as_secs_f64()
    };
    2.0 * (m * n * k) as f64 / (0..12).map(once).fold(f64::INFINITY, f64::min)
}

/// `rows`, rounded up to whole tiles.
pub(crate) fn padded_rows(rows: usize) -> usize {
    rows.next_multiple_of(isa::best().rows)
}

/// Steps of the inner dimension that are packed together: a panel of the right operand then fits the first-level cache.
const BLOCK: usize = 384;

/// The length of the blocks into which an inner dimension of `k` is cut, whole units of the right operand's storage.
fn block_length(k: usize, unit: usize) -> usize {
    let even = k
        .div_ceil(k.div_ceil(BLOCK).max(1))
        .next_multiple_of(8.max(unit));
    if even <= BLOCK {
        even.max(1)
    } else {
        (BLOCK / unit * unit).max(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::block_length;

    #[test]
    fn blocks_are_whole_units_near_the_wanted_length() {
        let cases = [
            (576, 32, 288),
            (1536, 32, 384),
            (2048, 256, 256),
            (4096, 256, 256),
            (192, 1, 192),
            (1, 1, 8),
            (11008, 32, 384),
        ];
        for (k, unit, want) in cases {
            assert_eq!(block_length(k, unit), want, "{k} in units of {unit}");
        }
    }
}
