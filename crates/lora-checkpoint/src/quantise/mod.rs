//! f32 rows → GGUF blocks, byte for byte those of ggml's reference quantiser (`ggml_quantize_chunk`), with and without
//! importance: the candidates of its searches and the order of its sums are kept. What is asked of memory and threads is the
//! writer's business, which tensor gets which type the model's.
//!
//! `blocks_of_32` has Q4_0 to Q8_0, `mxfp4` the 4-bit floats of MXFP4, `affine_k` the K-quants with a least value (Q2_K, Q4_K, Q5_K), `symmetric_k` those
//! without (Q3_K, Q6_K), `search` the searches for a scale that they share, `lanes` how eight blocks are searched at once,
//! `store` what they store alike.
//!
//! Bits differ from ggml's in a case that weights don't meet: where its search without importance divides by a range that
//! has all but vanished, its quotient leaves the 22 bits of its rounding and wraps; here it is kept within the levels. The
//! same holds of an exponent of MXFP4 that would be negative.
mod affine_k;
mod blocks_of_32;
mod lanes;
mod mxfp4;
mod search;
mod store;
mod symmetric_k;
#[cfg(test)]
mod tests;

use crate::storage::StorageDtype;
use candle_core::quantized::GgmlDType;
use store::{SUPER, half_at};

/// True if [`rows`] can write this type.
fn is_writable(dtype: StorageDtype) -> bool {
    use GgmlDType::*;
    match dtype {
        StorageDtype::Mxfp4 => true,
        StorageDtype::Quantised(dtype) => matches!(
            dtype,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q2K | Q3K | Q4K | Q5K | Q6K
        ),
        _ => false,
    }
}

/// Quantises whole rows of `columns` values. `importance` has a weight for each column, of the square error there.
///
/// # Panics
/// If rows are no whole blocks, if `out` has another size than their blocks, or for a type that is not writable.
pub(crate) fn rows(
    dtype: StorageDtype,
    values: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    assert!(is_writable(dtype), "{dtype:?} can't be written");
    let (block_values, block_bytes) = dtype.unit();
    let bytes = columns / block_values * block_bytes;
    assert_eq!(columns % block_values, 0, "rows are no whole blocks");
    assert_eq!(values.len() / columns * bytes, out.len());
    assert!(importance.is_none_or(|weights| weights.len() == columns));
    for (row, out) in values
        .chunks_exact(columns)
        .zip(out.chunks_exact_mut(bytes))
    {
        one_row(dtype, row, importance, out);
    }
}

fn one_row(dtype: StorageDtype, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    use blocks_of_32::{Affine, Symmetric};
    let StorageDtype::Quantised(dtype) = dtype else {
        return mxfp4::row(row, out);
    };
    match dtype {
        GgmlDType::Q4_0 => blocks_of_32::symmetric(row, importance, Symmetric::Q4_0, out),
        GgmlDType::Q5_0 => blocks_of_32::symmetric(row, importance, Symmetric::Q5_0, out),
        GgmlDType::Q4_1 => blocks_of_32::affine(row, importance, Affine::Q4_1, out),
        GgmlDType::Q5_1 => blocks_of_32::affine(row, importance, Affine::Q5_1, out),
        GgmlDType::Q8_0 => blocks_of_32::q8_0(row, out),
        GgmlDType::Q2K => each(row, importance, out, affine_k::q2_k),
        GgmlDType::Q4K => each(row, importance, out, affine_k::q4_k),
        GgmlDType::Q5K => each(row, importance, out, affine_k::q5_k),
        GgmlDType::Q3K => each(row, importance, out, symmetric_k::q3_k),
        GgmlDType::Q6K => each(row, importance, out, symmetric_k::q6_k),
        other => unreachable!("{other:?} is not writable"),
    }
}

/// Quantises a row block by block.
fn each<const BYTES: usize>(
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    block: impl Fn(&[f32; SUPER], Option<&[f32; SUPER]>, &mut [u8; BYTES]),
) {
    let blocks = row.as_chunks::<SUPER>().0.iter();
    for (i, (x, out)) in blocks.zip(out.as_chunks_mut::<BYTES>().0).enumerate() {
        let weights = importance.map(|weights| &weights.as_chunks::<SUPER>().0[i]);
        block(x, weights, out);
    }
}

/// The first block whose scale or least value f16 can't hold.
pub(crate) fn overflow(dtype: StorageDtype, blocks: &[u8]) -> Option<usize> {
    let StorageDtype::Quantised(dtype) = dtype else {
        return None; // an exponent holds all
    };
    let factors: &[usize] = match dtype {
        GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0 => &[0],
        GgmlDType::Q4_1 | GgmlDType::Q5_1 | GgmlDType::Q4K | GgmlDType::Q5K => &[0, 2],
        GgmlDType::Q2K => &[80, 82],
        GgmlDType::Q3K => &[108],
        GgmlDType::Q6K => &[208],
        other => unreachable!("{other:?} is not writable"),
    };
    let overflows = |block: &[u8]| factors.iter().any(|&at| !half_at(block, at).is_finite());
    blocks.chunks_exact(dtype.type_size()).position(overflows)
}
