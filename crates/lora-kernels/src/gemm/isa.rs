//! The kernels of the instruction set that this machine has, found once.
use super::simd::{Portable, Simd};
use super::tile::{Out, Part, Strides, Tile, tile};
use std::sync::OnceLock;

/// Transposes `rows` rows of `src`, `stride` values apart, into `dst`: step k of the inner dimension is `width` values, zero
/// behind the rows. (src, stride, rows, steps, dst, width)
pub(crate) type Transpose = unsafe fn(*const f32, usize, usize, usize, *mut f32, usize);

/// One instruction set's kernels, and the shape of its tiles.
#[derive(Debug)]
pub(super) struct Kernels {
    /// Its name, for people.
    pub(super) name: &'static str,
    /// Rows of a tile.
    pub(super) rows: usize,
    /// Columns of a tile and of a panel: two vectors.
    pub(super) columns: usize,
    /// Tiles of packed operands, whose strides are known.
    pub(super) packed: Pair<2>,
    /// Tiles of operands where they lie, whose rows on the left are neighbours.
    pub(super) across: Pair<1>,
    /// The same, where the steps on the left are neighbours.
    pub(super) along: Pair<1>,
    pub(super) transpose: Transpose,
}

/// A whole tile, and the left half of its columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<const PARTS: usize> {
    whole: Tile<PARTS>,
    half: Tile<PARTS>,
}

impl<const PARTS: usize> Pair<PARTS> {
    /// The tile for so many columns of `whole`.
    pub(super) fn of(self, live: usize, whole: usize) -> Tile<PARTS> {
        if live <= whole / 2 {
            self.half
        } else {
            self.whole
        }
    }
}

macro_rules! kernels {
    ($module:ident, $name:literal, $simd:ty, $rows:literal, $transpose:path $(, $features:literal)?) => {
        mod $module {
            use super::*;

            const PACKED: Strides = Strides { left_row: 1, left_step: $rows, right_step: 2 * <$simd>::LANES };

            /// # Safety
            /// As for [`tile`].
            $(#[target_feature(enable = $features)])?
            unsafe fn packed<const VECTORS: usize>(parts: [Part; 2], _: Strides, out: Out) {
                // SAFETY: handed on.
                unsafe { tile::<$simd, $rows, VECTORS, _>(parts, PACKED, out) }
            }
            /// # Safety
            /// As for [`tile`].
            $(#[target_feature(enable = $features)])?
            unsafe fn across<const VECTORS: usize>(parts: [Part; 1], strides: Strides, out: Out) {
                // SAFETY: handed on.
                unsafe { tile::<$simd, $rows, VECTORS, _>(parts, Strides { left_row: 1, ..strides }, out) }
            }
            /// # Safety
            /// As for [`tile`].
            $(#[target_feature(enable = $features)])?
            unsafe fn along<const VECTORS: usize>(parts: [Part; 1], strides: Strides, out: Out) {
                // SAFETY: handed on.
                unsafe { tile::<$simd, $rows, VECTORS, _>(parts, Strides { left_step: 1, ..strides }, out) }
            }
            pub(super) static KERNELS: Kernels = Kernels {
                name: $name,
                rows: $rows,
                columns: 2 * <$simd>::LANES,
                packed: Pair { whole: packed::<2>, half: packed::<1> },
                across: Pair { whole: across::<2>, half: across::<1> },
                along: Pair { whole: along::<2>, half: along::<1> },
                transpose: $transpose,
            };
        }
    };
}

kernels!(portable, "portable", Portable<4>, 6, transpose);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx2,
    "AVX2",
    super::super::simd::Avx2,
    6,
    super::super::x86::transpose_avx2,
    "avx2,fma"
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512,
    "AVX-512",
    super::super::simd::Avx512,
    12,
    super::super::x86::transpose_avx2,
    "avx512f,avx2,fma"
);

// The tile shape of AVX-512 on machines that don't have it.
#[cfg(test)]
kernels!(wide, "portable, 12×32", Portable<16>, 12, transpose);

/// All that this machine can run, the fastest first.
fn available() -> &'static [&'static Kernels] {
    static AVAILABLE: OnceLock<Vec<&'static Kernels>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        let mut found: Vec<&'static Kernels> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if has_avx2 && is_x86_feature_detected!("avx512f") {
                found.push(&avx512::KERNELS);
            }
            if has_avx2 {
                found.push(&avx2::KERNELS);
            }
        }
        found.push(&portable::KERNELS);
        found
    })
}

/// The fastest kernels that this machine can run.
pub(super) fn best() -> &'static Kernels {
    #[cfg(test)]
    if let Some(kernels) = FORCED.get() {
        return kernels;
    }
    available()[0]
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<&'static Kernels>> = const { std::cell::Cell::new(None) };
}

/// Runs `work` on this thread alone with each kind of kernels that it can run, told their names.
#[cfg(test)]
pub(crate) fn with_each(mut work: impl FnMut(&str) + Send) {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build()
        .expect("a pool of this thread");
    for kernels in available().iter().copied().chain([&wide::KERNELS]) {
        FORCED.set(Some(kernels));
        pool.install(|| work(kernels.name));
    }
    FORCED.set(None);
}

/// See [`Transpose`].
///
/// # Safety
/// `rows` rows of `steps` values must be valid in `src`, `steps` · `width` values in `dst`.
pub(super) unsafe fn transpose(
    src: *const f32,
    stride: usize,
    rows: usize,
    steps: usize,
    dst: *mut f32,
    width: usize,
) {
    for k in 0..steps {
        for row in 0..width {
            // SAFETY: inside the rows and the destination, as the caller vouches.
            unsafe {
                *dst.add(k * width + row) = if row < rows {
                    *src.add(row * stride + k)
                } else {
                    0.0
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::{Left, MatRight, Product};
    use crate::matmul::{Mat, MatMut};

    /// Every instruction set that this machine has, on shapes with ragged edges everywhere.
    #[test]
    fn every_instruction_set_gives_the_product() {
        let values = |n: usize, s: usize| -> Vec<f32> {
            (0..n).map(|i| ((i * 7 + s) % 13) as f32 - 6.0).collect()
        };
        assert_eq!(available().last().map(|k| k.name), Some("portable"));
        for kernels in available().iter().copied().chain([&wide::KERNELS]) {
            for (m, n, k, extra) in [
                (1, 1, 1, 0),
                (13, 35, 9, 3),
                (64, 70, 401, 16),
                (12, 32, 8, 0),
                (25, 8, 800, 5),
            ] {
                let (x, w) = (values(m * k, 1), values(n * k, 2));
                let (u, b) = (values(m * extra, 3), values(n * extra, 4));
                let (mut packed, mut packed_u) = (Vec::new(), Vec::new());
                let left = Left::pack_with(kernels, Mat::new(&x, m, k), 1, &mut packed, false);
                let more =
                    Left::pack_with(kernels, Mat::new(&u, m, extra), 1, &mut packed_u, false);
                let (right, right_more) = (
                    MatRight::new(Mat::new(&w, n, k).t()),
                    MatRight::scaled(Mat::new(&b, n, extra).t(), 2.0),
                );
                let mut y = vec![1.0; m * n];
                let product = Product::new(MatMut::new(&mut y, m, n), left, &right)
                    .accumulate(true)
                    .scaled(0.5);
                let product = if extra > 0 {
                    product.and(more, &right_more)
                } else {
                    product
                };
                product.with(kernels).run(false);
                for i in 0..m {
                    for j in 0..n {
                        let dot = |a: &[f32], b: &[f32]| {
                            a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>()
                        };
                        let want = 1.0
                            + 0.5 * dot(&x[i * k..(i + 1) * k], &w[j * k..(j + 1) * k])
                            + dot(
                                &u[i * extra..(i + 1) * extra],
                                &b[j * extra..(j + 1) * extra],
                            );
                        assert_eq!(
                            f64::from(y[i * n + j]),
                            want,
                            "{}: ({m}, {n}, {k}) at ({i}, {j})",
                            kernels.name
                        );
                    }
                }
            }
        }
    }
}
