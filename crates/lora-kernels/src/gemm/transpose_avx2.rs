//! Transposing rows into panels with AVX2.
use super::transpose::{From, Panel};
use std::arch::x86_64::*;

/// See [`super::transpose::Transpose`]: blocks of 8 rows by 8 steps in registers.
///
/// # Safety
/// As for [`super::transpose::transpose`], on a machine with AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose(from: From, to: Panel) {
    let From { stride, rows, .. } = from;
    let width = to.width;
    let whole = from.steps / 8 * 8;
    let mut block = [0f32; 64];
    for first in (0..width).step_by(8) {
        let n = 8.min(width - first);
        let live = 8.min(rows.saturating_sub(first));
        for k in (0..whole).step_by(8) {
            // Behind the last row this points outside; it is not read then.
            let src = from.pointer.wrapping_add(first * stride + k);
            // SAFETY: rows below `live` have 8 more values behind step k; the panel has `n` values for each step, and
            // exactly 8 where it is written directly.
            unsafe {
                let dst = to.pointer.add(k * width + first);
                if n == 8 {
                    transpose_8x8(src, stride, live, dst, width);
                    continue;
                }
                transpose_8x8(src, stride, live, block.as_mut_ptr(), 8);
                match n {
                    6 => copy_steps::<6>(&block, dst, width),
                    4 => copy_steps::<4>(&block, dst, width),
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
        let pointer = to.pointer.add(whole * width);
        super::transpose::transpose(rest, Panel { pointer, width });
    }
}

/// The first N of 8 values of 8 steps; a known length is copied without a call.
///
/// # Safety
/// N values of 8 steps, `width` apart, must be valid in `dst`.
#[inline(always)]
unsafe fn copy_steps<const N: usize>(block: &[f32; 64], dst: *mut f32, width: usize) {
    for (step, values) in block.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: as promised by the caller; N is at most 8.
        unsafe {
            dst.add(step * width)
                .cast::<[f32; N]>()
                .write_unaligned(*values.as_ptr().cast::<[f32; N]>())
        };
    }
}

/// dst[k][row] = src[row][k] for 8 by 8 values; rows from `live` on are zero and not read.
///
/// # Safety
/// 8 values of each live row, and 8 values of 8 steps of `dst`, must be valid; AVX2.
#[target_feature(enable = "avx2")]
unsafe fn transpose_8x8(src: *const f32, stride: usize, live: usize, dst: *mut f32, width: usize) {
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
        // SAFETY: as promised by the caller.
        unsafe {
            _mm256_storeu_ps(dst.add(k * width), _mm256_permute2f128_ps::<0x20>(a, b));
            _mm256_storeu_ps(
                dst.add((k + 4) * width),
                _mm256_permute2f128_ps::<0x31>(a, b),
            );
        }
    }
}
