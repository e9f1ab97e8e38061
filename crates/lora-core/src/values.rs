//! f32 values: memory for them, and tensors of a file widened to them.
use crate::Error;
use safetensors::tensor::{Dtype, TensorView};

/// `n` zeros, or an error where memory can't hold them.
pub(crate) fn zeros(n: usize) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(n)
        .map_err(|_| Error::config(format!("no memory for {n} adapter parameters")))?;
    values.resize(n, 0.0);
    Ok(values)
}

/// Widens a tensor to f32; the error says what is wrong with it.
pub(crate) fn widen(tensor: &TensorView<'_>, out: &mut [f32]) -> Result<(), String> {
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => read(bytes, out, f32::from_le_bytes),
        Dtype::F64 => read(bytes, out, |b| f64::from_le_bytes(b) as f32), // as PEFT rounds it
        Dtype::F16 => read(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => read(bytes, out, |b| half::bf16::from_le_bytes(b).to_f32()),
        other => {
            return Err(format!(
                "is stored as {other:?}, only F64, F32, F16 and BF16 are supported"
            ));
        }
    }
    match out.iter().find(|v| !v.is_finite()) {
        Some(value) => Err(format!("holds {value}: the adapter is broken")),
        None => Ok(()),
    }
}

fn read<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (y, chunk) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *y = value(*chunk);
    }
}

/// Rows become columns; a vector stays as it is.
pub(crate) fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows.max(1);
    (0..columns)
        .flat_map(|j| (0..rows).map(move |i| values[i * columns + j]))
        .collect()
}
