//! Stored values → f32. Plain floats are widened here, and so are the GGUF blocks that are met most, in vectors; the others by
//! candle's dequantisers on the mapped bytes, whose values ours are, bit for bit.
use crate::mxfp4::{doubled, half_scale};
use crate::storage::StorageDtype;
use candle_core::quantized::{GgmlDType, GgmlType, k_quants as k};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

/// Widens stored bytes into `out`. `bytes` holds exactly the units of `out.len()` values.
pub(crate) fn widen(dtype: StorageDtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        StorageDtype::F32 => widen_f32(bytes, out),
        StorageDtype::F16 => widen_f16(bytes, out),
        StorageDtype::BF16 => widen_bf16(bytes, out),
        StorageDtype::Quantised(dtype) => dequantise(dtype, bytes, out),
        StorageDtype::Mxfp4 => mxfp4(bytes, out),
        StorageDtype::Mxfp4Apart => {
            unreachable!("its exponents lie elsewhere: `mxfp4::widen_apart`")
        }
    }
}

fn widen_f32(bytes: &[u8], out: &mut [f32]) {
    // Little-endian bytes are the values' own: this also holds where they are not aligned.
    bytemuck::cast_slice_mut::<f32, u8>(out).copy_from_slice(bytes);
}

fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    match bytemuck::try_cast_slice::<u8, u16>(bytes) {
        Ok(bits) => bits
            .reinterpret_cast::<half::f16>()
            .convert_to_f32_slice(out),
        Err(_) => {
            for (value, &bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = half::f16::from_le_bytes(bytes).to_f32();
            }
        }
    }
}

fn widen_bf16(bytes: &[u8], out: &mut [f32]) {
    // A bfloat16 is the upper half of a float; written as bits so that the compiler makes vectors of it.
    for (value, &bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16);
    }
}

/// True if [`widen`] can read this block type.
pub(crate) fn is_readable(dtype: GgmlDType) -> bool {
    use GgmlDType::*;
    matches!(
        dtype,
        Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q2K | Q3K | Q4K | Q5K | Q6K
    )
}

fn dequantise(dtype: GgmlDType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        GgmlDType::Q4_0 => q4_0(bytes, out),
        GgmlDType::Q4_1 => q4_1(bytes, out),
        GgmlDType::Q5_0 => blocks::<k::BlockQ5_0>(bytes, out),
        GgmlDType::Q5_1 => blocks::<k::BlockQ5_1>(bytes, out),
        GgmlDType::Q8_0 => q8_0(bytes, out),
        GgmlDType::Q2K => blocks::<k::BlockQ2K>(bytes, out),
        GgmlDType::Q3K => blocks::<k::BlockQ3K>(bytes, out),
        GgmlDType::Q4K => blocks::<k::BlockQ4K>(bytes, out),
        GgmlDType::Q5K => blocks::<k::BlockQ5K>(bytes, out),
        GgmlDType::Q6K => blocks::<k::BlockQ6K>(bytes, out),
        other => unreachable!("{other:?} is refused when the file is opened"),
    }
}

/// Defines the dequantiser of a kind of blocks of 32 values, compiled for AVX2 too, from what it does with one block.
macro_rules! dequantiser {
    (fn $name:ident($block:ident: &[u8; $bytes:literal], $out:ident: &mut [f32; 32]) $each:block) => {
        #[allow(unsafe_code)] // a call of what was compiled for the instructions that this machine has
        fn $name(bytes: &[u8], out: &mut [f32]) {
            assert!(
                bytes.len() % $bytes == 0 && bytes.len() / $bytes * 32 == out.len(),
                "no whole number of blocks"
            );
            #[inline(always)]
            fn body(bytes: &[u8], out: &mut [f32]) {
                for ($block, $out) in bytes
                    .as_chunks::<$bytes>()
                    .0
                    .iter()
                    .zip(out.as_chunks_mut::<32>().0)
                {
                    $each
                }
            }
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2(bytes: &[u8], out: &mut [f32]) {
                    body(bytes, out);
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the machine has these instructions.
                    return unsafe { avx2(bytes, out) };
                }
            }
            body(bytes, out);
        }
    };
}

/// The factor that a block has at `at`.
#[inline(always)]
fn factor(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

dequantiser! {
    fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
        let d = factor(block, 0);
        for (j, &pair) in block[2..].iter().enumerate() {
            out[j] = f32::from((pair & 15) as i8 - 8) * d;
            out[j + 16] = f32::from((pair >> 4) as i8 - 8) * d;
        }
    }
}

dequantiser! {
    fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
        let (d, m) = (factor(block, 0), factor(block, 2));
        for (j, &pair) in block[4..].iter().enumerate() {
            out[j] = f32::from(pair & 15) * d + m;
            out[j + 16] = f32::from(pair >> 4) * d + m;
        }
    }
}

dequantiser! {
    fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
        let d = factor(block, 0);
        for (out, &q) in out.iter_mut().zip(&block[2..]) {
            *out = f32::from(q as i8) * d;
        }
    }
}

dequantiser! {
    fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
        let half = half_scale(block[0]);
        for (j, &pair) in block[1..].iter().enumerate() {
            out[j] = doubled(pair & 15) * half;
            out[j + 16] = doubled(pair >> 4) * half;
        }
    }
}

/// Dequantises mapped blocks of one kind.
#[allow(unsafe_code)] // candle's blocks are plain data, but don't say so to bytemuck
fn blocks<T: GgmlType>(bytes: &[u8], out: &mut [f32]) {
    let size = size_of::<T>();
    assert_eq!(
        bytes.len() % size,
        0,
        "{} bytes are no whole number of blocks of {size}",
        bytes.len()
    );
    assert_eq!(bytes.len() / size * T::BLCK_SIZE, out.len());
    assert_eq!(
        bytes.as_ptr() as usize % align_of::<T>(),
        0,
        "blocks are aligned: GGUF offsets are checked on opening"
    );
    // SAFETY: the pointer is aligned for T and the length a whole number of T (both asserted above), the borrow lives
    // as long as `bytes`, and the blocks named in `dequantise` are repr(C) structs of u8, i8 and f16 without padding,
    // for which every bit pattern is valid.
    let blocks =
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), bytes.len() / size) };
    T::to_float(blocks, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mxfp4::{Blocks, widen_apart};

    fn some_bytes(count: usize) -> Vec<u8> {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u8
        };
        (0..count).map(|_| next()).collect()
    }

    /// The table of the format's section 5.3.3, and the scales as powers of two.
    #[test]
    fn values_of_mxfp4_are_those_of_its_table() {
        let magnitudes = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        for e in 0..=254u8 {
            let scale = 2f64.powi(i32::from(e) - 127);
            for code in 0..16u8 {
                let sign = if code < 8 { 1.0 } else { -1.0 };
                let value =
                    |sign: f64, place: u8| (sign * magnitudes[usize::from(place)] * scale) as f32;
                let pair = code | (15 - code) << 4;
                let expected = (value(sign, code & 7), value(-sign, 7 - (code & 7)));
                let mut block = [0; 17];
                (block[0], block[3]) = (e, pair);
                let mut out = [f32::NAN; 32];
                widen(StorageDtype::Mxfp4, &block, &mut out);
                assert_eq!((out[2], out[18]), expected, "{code} with {e}");
                assert_eq!((out[0], out[31]), (0.0, 0.0));
                widen_apart(&block[1..], &[e], &mut out);
                assert_eq!((out[4], out[5]), expected, "{code} with {e}");
            }
        }
    }

    #[test]
    fn the_layouts_of_mxfp4_say_the_same() {
        let gguf: Vec<u8> = some_bytes(1000 * 17)
            .chunks(17)
            .flat_map(|block| [&[block[0].min(254)], &block[1..]].concat())
            .collect();
        let apart = Blocks::of_gguf(&gguf);
        assert_eq!(apart.to_gguf(), gguf);
        let mut values = [vec![0.0; 1000 * 32], vec![0.0; 1000 * 32]];
        widen(StorageDtype::Mxfp4, &gguf, &mut values[0]);
        widen_apart(&apart.codes, &apart.exponents, &mut values[1]);
        assert_eq!(values[0], values[1]);
        assert!(apart.check().is_ok());
        let damaged = Blocks::of_gguf(&[255; 17]);
        assert!(damaged.check().is_err());
    }

    /// Any bytes, so all scales, infinities and NaN among them, and all values.
    #[test]
    fn ours_are_candles_values_bit_for_bit() {
        type Dequantiser = fn(&[u8], &mut [f32]);
        let kinds: [(usize, Dequantiser, Dequantiser); 3] = [
            (18, q4_0, blocks::<k::BlockQ4_0>),
            (20, q4_1, blocks::<k::BlockQ4_1>),
            (34, q8_0, blocks::<k::BlockQ8_0>),
        ];
        let mut state = 1u64;
        let words: Vec<u64> = (0..10_000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                state ^ (state >> 33)
            })
            .collect();
        for (size, ours, candles) in kinds {
            let bytes: &[u8] = bytemuck::cast_slice(&words);
            let bytes = &bytes[..bytes.len() / size * size];
            let (mut got, mut want) = (
                vec![0.0; bytes.len() / size * 32],
                vec![0.0; bytes.len() / size * 32],
            );
            ours(bytes, &mut got);
            candles(bytes, &mut want);
            let differs = |(got, want): &(&f32, &f32)| {
                got.to_bits() != want.to_bits() && !(got.is_nan() && want.is_nan())
            };
            assert_eq!(
                got.iter().zip(&want).find(differs),
                None,
                "blocks of {size} bytes"
            );
        }
    }
}
