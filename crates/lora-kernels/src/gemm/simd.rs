//! Vectors of f32 by instruction set: what a tile is made of.

/// One instruction set's vector of f32 and the few operations that a tile needs.
///
/// # Safety
/// Every function may be called only on a machine that has the instruction set; pointers must be valid for `LANES` values
/// (for one value in `splat`).
pub(super) trait Simd: Copy {
    /// The vector.
    type Vector: Copy;
    /// Its values.
    const LANES: usize;
    unsafe fn zero() -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    unsafe fn store(to: *mut f32, value: Self::Vector);
    /// The value at `from` in every lane.
    unsafe fn splat(from: *const f32) -> Self::Vector;
    /// a·b + c, rounded once where the instruction set can.
    unsafe fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// N lanes in plain Rust; four are SSE2 on x86-64, NEON on AArch64, whatever the compiler has elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Portable<const N: usize>;

// SAFETY of the functions: plain reads and writes of N values that the caller vouches for.
impl<const N: usize> Simd for Portable<N> {
    type Vector = [f32; N];
    const LANES: usize = N;
    #[inline(always)]
    unsafe fn zero() -> [f32; N] {
        [0.0; N]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; N] {
        // SAFETY: the caller vouches for N values.
        unsafe { from.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; N]) {
        // SAFETY: the caller vouches for N values.
        unsafe { to.cast::<[f32; N]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> [f32; N] {
        // SAFETY: the caller vouches for one value.
        [unsafe { *from }; N]
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        // mul_add is an instruction on AArch64, but a call on plain x86-64.
        if cfg!(target_arch = "aarch64") {
            std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
        } else {
            std::array::from_fn(|i| a[i] * b[i] + c[i])
        }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; N], b: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; N], b: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| a[i] * b[i])
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    macro_rules! simd {
        ($name:ident, $doc:literal, $vector:ty, $lanes:literal, $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident, $add:ident, $mul:ident) => {
            #[doc = $doc]
            #[derive(Clone, Copy)]
            pub(crate) struct $name;

            impl Simd for $name {
                type Vector = $vector;
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn zero() -> $vector {
                    // SAFETY: the caller vouches for the instruction set, here and below.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> $vector {
                    // SAFETY: and for the values that are read.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(to: *mut f32, value: $vector) {
                    // SAFETY: and for the values that are written.
                    unsafe { $store(to, value) }
                }
                #[inline(always)]
                unsafe fn splat(from: *const f32) -> $vector {
                    // SAFETY: and for the one value.
                    unsafe { $splat(*from) }
                }
                #[inline(always)]
                unsafe fn fma(a: $vector, b: $vector, c: $vector) -> $vector {
                    // SAFETY: the instruction set, as above.
                    unsafe { $fma(a, b, c) }
                }
                #[inline(always)]
                unsafe fn add(a: $vector, b: $vector) -> $vector {
                    // SAFETY: the instruction set, as above.
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                unsafe fn mul(a: $vector, b: $vector) -> $vector {
                    // SAFETY: the instruction set, as above.
                    unsafe { $mul(a, b) }
                }
            }
        };
    }

    simd!(
        Avx2,
        "AVX2 with FMA: eight lanes.",
        __m256,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_mul_ps
    );
    simd!(
        Avx512,
        "AVX-512F: sixteen lanes.",
        __m512,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_mul_ps
    );
}
