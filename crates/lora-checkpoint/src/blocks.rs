//! Stored values → f32. Plain floats are widened here, GGUF blocks by candle's own dequantisers on the mapped bytes.
use crate::view::StorageDtype;
use candle_core::quantized::{GgmlDType, GgmlType, k_quants as k};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

/// Widens stored bytes into `out`. `bytes` holds exactly the units of `out.len()` values.
pub(crate) fn widen(dtype: StorageDtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        StorageDtype::F32 => widen_f32(bytes, out),
        StorageDtype::F16 => widen_f16(bytes, out),
        StorageDtype::BF16 => widen_bf16(bytes, out),
        StorageDtype::Quantised(dtype) => dequantise(dtype, bytes, out),
    }
}

fn widen_f32(bytes: &[u8], out: &mut [f32]) {
    // Little-endian bytes are the values' own: this also holds where they are not aligned.
    bytemuck::cast_slice_mut::<f32, u8>(out).copy_from_slice(bytes);
}

fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    match bytemuck::try_cast_slice::<u8, u16>(bytes) {
        Ok(bits) => bits.reinterpret_cast::<half::f16>().convert_to_f32_slice(out),
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
    matches!(dtype, Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q2K | Q3K | Q4K | Q5K | Q6K)
}

fn dequantise(dtype: GgmlDType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        GgmlDType::Q4_0 => blocks::<k::BlockQ4_0>(bytes, out),
        GgmlDType::Q4_1 => blocks::<k::BlockQ4_1>(bytes, out),
        GgmlDType::Q5_0 => blocks::<k::BlockQ5_0>(bytes, out),
        GgmlDType::Q5_1 => blocks::<k::BlockQ5_1>(bytes, out),
        GgmlDType::Q8_0 => blocks::<k::BlockQ8_0>(bytes, out),
        GgmlDType::Q2K => blocks::<k::BlockQ2K>(bytes, out),
        GgmlDType::Q3K => blocks::<k::BlockQ3K>(bytes, out),
        GgmlDType::Q4K => blocks::<k::BlockQ4K>(bytes, out),
        GgmlDType::Q5K => blocks::<k::BlockQ5K>(bytes, out),
        GgmlDType::Q6K => blocks::<k::BlockQ6K>(bytes, out),
        other => unreachable!("{other:?} is refused when the file is opened"),
    }
}

/// Dequantises mapped blocks of one kind.
#[allow(unsafe_code)] // candle's blocks are plain data, but don't say so to bytemuck
fn blocks<T: GgmlType>(bytes: &[u8], out: &mut [f32]) {
    let size = size_of::<T>();
    assert_eq!(bytes.len() % size, 0, "{} bytes are no whole number of blocks of {size}", bytes.len());
    assert_eq!(bytes.len() / size * T::BLCK_SIZE, out.len());
    assert_eq!(bytes.as_ptr() as usize % align_of::<T>(), 0, "blocks are aligned: GGUF offsets are checked on opening");
    // SAFETY: the pointer is aligned for T and the length a whole number of T (both asserted above), the borrow lives
    // as long as `bytes`, and the blocks named in `dequantise` are repr(C) structs of u8, i8 and f16 without padding,
    // for which every bit pattern is valid.
    let blocks = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), bytes.len() / size) };
    T::to_float(blocks, out);
}
