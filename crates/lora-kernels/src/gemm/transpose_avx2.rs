//! Transposing rows into panels with AVX2.
use super::transpose::{From, Panel, UPPER};
use std::arch::x86_64::*;

/// See [`super::transpose::transpose`]: blocks of 8 rows by 8 steps (or pairs of steps) in registers.
///
/// # Safety
/// As for [`super::transpose::transpose`], on a machine with AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose<const PAIRS: bool>(from: From, to: Panel) {
    let each = if PAIRS { 2 } else { 1 };
    let From { stride, rows, .. } = from;
    let width = to.width;
    let whole = from.steps / 8 * 8;
    let mut block = [0f32; 128];
    for first in (0..width).step_by(8) {
        let n = 8.min(width - first);
        let live = 8.min(rows.saturating_sub(first));
        for k in (0..whole).step_by(8) {
            // Behind the last row this points outside; it is not read then.
            let src = from.pointer.wrapping_add(first * stride + k);
            // SAFETY: rows below `live` have 8 more values behind step k; the panel has `n` values for each step, and
            // exactly 8 where it is written directly.
            unsafe {
                let dst = to.pointer.add(each * k * width + first);
                if n == 8 {
                    transpose_8x8::<PAIRS>(src, stride, live, dst, width);
                    continue;
                }
                transpose_8x8::<PAIRS>(src, stride, live, block.as_mut_ptr(), 8);
                let block = &block[..each * 64];
                match n {
                    6 => copy_steps::<6>(block, dst, width),
                    4 => copy_steps::<4>(block, dst, width),
                    _ => {
                        for (step, values) in block.as_chunks::<8>().0.iter().enumerate() {
                            let dst = dst.add(step * width);
                            std::ptr::copy_nonoverlapping(values.as_ptr(), dst, n);
                        }
                    }
                }
            }
        }
    }
    let rest = From {
        pointer: from.pointer.wrapping_add(whole),
        steps: from.steps - whole,
        ..from
    };
    // SAFETY: the steps that are left, of the same rows and panel.
    unsafe {
        let pointer = to.pointer.add(each * whole * width);
        super::transpose::transpose::<PAIRS>(rest, Panel { pointer, width });
    }
}

/// The first N of 8 values of each step; a known length is copied without a call.
///
/// # Safety
/// N values of so many steps, `width` apart, must be valid in `dst`.
#[inline(always)]
unsafe fn copy_steps<const N: usize>(block: &[f32], dst: *mut f32, width: usize) {
    for (step, values) in block.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: as promised by the caller; N is at most 8.
        unsafe {
            dst.add(step * width)
                .cast::<[f32; N]>()
                .write_unaligned(*values.as_ptr().cast::<[f32; N]>())
        };
    }
}

/// dst[k][row] = src[row][k] for 8 by 8 values; rows from `live` on are zero and not read. With PAIRS each value is two, of
/// steps 2k and 2k + 1.
///
/// # Safety
/// 8 values of each live row, and 8 values of 8 (with PAIRS 16) steps of `dst`, must be valid; AVX2.
#[target_feature(enable = "avx2")]
unsafe fn transpose_8x8<const PAIRS: bool>(
    src: *const f32,
    stride: usize,
    live: usize,
    dst: *mut f32,
    width: usize,
) {
    let r: [__m256; 8] = std::array::from_fn(|i| {
        if i >= live {
            return _mm256_setzero_ps();
        }
        // SAFETY: 8 values of a live row, as promised by the caller.
        unsafe { _mm256_loadu_ps(src.add(i * stride)) }
    });
    let pairs: [__m256; 8] = std::array::from_fn(|i| {
        let a = r[i / 2 * 2];
        let b = r[i / 2 * 2 + 1];
        if i % 2 == 0 {
            _mm256_unpacklo_ps(a, b)
        } else {
            _mm256_unpackhi_ps(a, b)
        }
    });
    // Four rows of half a block each: steps 0..4 in the lower halves, 4..8 in the upper ones.
    let quads: [__m256; 8] = std::array::from_fn(|i| {
        let a = pairs[i / 4 * 4 + i % 4 / 2];
        let b = pairs[i / 4 * 4 + i % 4 / 2 + 2];
        if i % 2 == 0 {
            _mm256_shuffle_ps::<0x44>(a, b)
        } else {
            _mm256_shuffle_ps::<0xEE>(a, b)
        }
    });
    for k in 0..4 {
        let a = quads[k];
        let b = quads[k + 4];
        let steps = [
            (k, _mm256_permute2f128_ps::<0x20>(a, b)),
            (k + 4, _mm256_permute2f128_ps::<0x31>(a, b)),
        ];
        for (k, values) in steps {
            // SAFETY: as promised by the caller.
            unsafe {
                if PAIRS {
                    let bits = _mm256_castps_si256(values);
                    let first = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits));
                    let upper = _mm256_set1_epi32(UPPER.cast_signed());
                    let second = _mm256_castsi256_ps(_mm256_and_si256(bits, upper));
                    _mm256_storeu_ps(dst.add(2 * k * width), first);
                    _mm256_storeu_ps(dst.add((2 * k + 1) * width), second);
                } else {
                    _mm256_storeu_ps(dst.add(k * width), values);
                }
            }
        }
    }
}
