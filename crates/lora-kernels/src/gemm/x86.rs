//! Transposing rows into panels with AVX2.
use std::arch::x86_64::*;

/// See [`super::isa::Transpose`]: blocks of 8 rows by 8 steps in registers.
///
/// # Safety
/// As for [`super::isa::transpose`], on a machine with AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose_avx2(
    src: *const f32,
    stride: usize,
    rows: usize,
    steps: usize,
    dst: *mut f32,
    width: usize,
) {
    let whole = steps / 8 * 8;
    let mut block = [0f32; 64];
    for first in (0..width).step_by(8) {
        let (n, live) = (8.min(width - first), 8.min(rows.saturating_sub(first)));
        for k in (0..whole).step_by(8) {
            // SAFETY: rows below `live` have 8 more values behind step k; the destination has `n` values for each step,
            // and exactly 8 where it is written directly.
            unsafe {
                let from = src.add(first * stride + k);
                if n == 8 {
                    transpose_8x8(from, stride, live, dst.add(k * width + first), width);
                    continue;
                }
                transpose_8x8(from, stride, live, block.as_mut_ptr(), 8);
                let to = dst.add(k * width + first);
                match n {
                    6 => copy_steps::<6>(&block, to, width),
                    4 => copy_steps::<4>(&block, to, width),
                    _ => {
                        for (step, values) in block.as_chunks::<8>().0.iter().enumerate() {
                            std::ptr::copy_nonoverlapping(values.as_ptr(), to.add(step * width), n);
                        }
                    }
                }
            }
        }
    }
    // SAFETY: the steps that are left, of the same rows and destination.
    unsafe {
        super::isa::transpose(
            src.add(whole),
            stride,
            rows,
            steps - whole,
            dst.add(whole * width),
            width,
        )
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
        let (a, b) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
        if i % 2 == 0 {
            _mm256_unpacklo_ps(a, b)
        } else {
            _mm256_unpackhi_ps(a, b)
        }
    });
    let quad = |i: usize| {
        let (a, b) = (pairs[i], pairs[i + 2]);
        (
            _mm256_shuffle_ps::<0x44>(a, b),
            _mm256_shuffle_ps::<0xEE>(a, b),
        )
    };
    let ((a0, a1), (a2, a3), (b0, b1), (b2, b3)) = (quad(0), quad(1), quad(4), quad(5));
    for (k, (a, b)) in [(a0, b0), (a1, b1), (a2, b2), (a3, b3)]
        .into_iter()
        .enumerate()
    {
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
