//! The kernels of the instruction set that this machine has, found once.
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Portable, Simd};
use super::tile::{Out, Part, Strides, Tile, tile};
use super::transpose::{Transpose, transpose};
#[cfg(target_arch = "x86_64")]
use super::transpose_avx2::transpose as transpose_avx2;
use std::sync::OnceLock;

/// One instruction set's kernels, and the shape of its tiles.
#[derive(Debug)]
pub(super) struct Kernels {
    /// Its name, for people.
    pub(super) name: &'static str,
    /// Rows of a tile.
    pub(super) rows: usize,
    /// Columns of a tile and of a panel: two vectors.
    pub(super) columns: usize,
    /// Tiles of packed operands, whose strides are known: of one row, of two, and so on up to all of them.
    pub(super) packed: &'static [Pair<2>],
    /// Tiles of operands where they lie, whose rows on the left are neighbours.
    pub(super) across: Pair<1>,
    /// The same, where the steps on the left are neighbours.
    pub(super) along: Pair<1>,
    pub(super) transpose: Transpose,
    /// Of rows whose values are pairs of bfloat16.
    pub(super) transpose_pairs: Transpose,
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
    ($module:ident, $name:literal, $simd:ty, $rows:literal [$($live:literal)+], $transpose:ident $(, $features:literal)?) => {
        mod $module {
            use crate::gemm::isa::*;

            const PACKED: Strides = Strides { left_row: 1, left_step: $rows, right_step: 2 * <$simd>::LANES };

            /// # Safety
            /// As for [`tile`].
            $(#[target_feature(enable = $features)])?
            unsafe fn packed<const ROWS: usize, const VECTORS: usize>(
                parts: [Part; 2],
                _: Strides,
                out: Out,
            ) {
                // SAFETY: handed on.
                unsafe { tile::<$simd, ROWS, VECTORS, _>(parts, PACKED, out) }
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
                packed: &[$(Pair { whole: packed::<$live, 2>, half: packed::<$live, 1> }),+],
                across: Pair { whole: across::<2>, half: across::<1> },
                along: Pair { whole: along::<2>, half: along::<1> },
                transpose: $transpose::<false>,
                transpose_pairs: $transpose::<true>,
            };
        }
    };
}

kernels!(portable, "portable", Portable<4>, 6 [1 2 3 4 5 6], transpose);
#[cfg(target_arch = "x86_64")]
kernels!(avx2, "AVX2", Avx2, 6 [1 2 3 4 5 6], transpose_avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512,
    "AVX-512",
    Avx512,
    12 [1 2 3 4 5 6 7 8 9 10 11 12],
    transpose_avx2,
    "avx512f,avx2,fma"
);

// The tile shape of AVX-512 on machines that don't have it.
#[cfg(test)]
kernels!(
    wide,
    "portable, 12×32",
    Portable<16>,
    12 [1 2 3 4 5 6 7 8 9 10 11 12],
    transpose
);

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

/// The instruction set that products are computed with on this machine, for people.
#[must_use]
pub fn instruction_set() -> &'static str {
    best().name
}

/// `rows`, rounded up to whole tiles.
pub(crate) fn padded_rows(rows: usize) -> usize {
    rows.next_multiple_of(best().rows)
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

/// All that this machine can run, and the tile shape of AVX-512 in portable code.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Kernels> {
    available().iter().copied().chain([&wide::KERNELS])
}

/// Runs `work` on this thread alone with each kind of kernels that it can run, told their names.
#[cfg(test)]
pub(crate) fn with_each(mut work: impl FnMut(&str) + Send) {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build()
        .expect("a pool of this thread");
    for kernels in all() {
        FORCED.set(Some(kernels));
        pool.install(|| work(kernels.name));
    }
    FORCED.set(None);
}
