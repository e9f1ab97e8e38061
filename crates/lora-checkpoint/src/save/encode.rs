//! f32 rows → stored bytes, rounded once to the nearest (ties to even).
use crate::error::Fault;
use crate::storage::StorageDtype;
use crate::{Checkpoint, Error};
use candle_core::quantized::GgmlDType;
use half::slice::HalfFloatSliceExt;

/// How weights are stored in a Hugging Face folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveDtype {
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
}

impl SaveDtype {
    /// The type that holds a model's own matrices; bf16 if some are quantised, f32 if no other holds all.
    pub fn of(model: &Checkpoint) -> Result<Self, Error> {
        let mut own = Vec::new();
        for (name, shape) in model.config().weights() {
            if shape.len() == 2 {
                own.push(model.tensor(&name)?.dtype());
            }
        }
        let is = |dtype: StorageDtype| own.contains(&dtype);
        let is_quantised = own.iter().any(|d| matches!(d, StorageDtype::Quantised(_)));
        Ok(
            match (
                is(StorageDtype::F32),
                is(StorageDtype::F16),
                is(StorageDtype::BF16),
            ) {
                _ if is_quantised => Self::BF16,
                (false, true, false) => Self::F16,
                (false, false, _) => Self::BF16,
                (true, ..) | (_, true, true) => Self::F32,
            },
        )
    }
    /// torch's name, as config.json has it.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }
    /// safetensors' name.
    pub(crate) fn safetensors_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }
    pub(crate) fn storage(self) -> StorageDtype {
        match self {
            Self::F32 => StorageDtype::F32,
            Self::F16 => StorageDtype::F16,
            Self::BF16 => StorageDtype::BF16,
        }
    }
}

/// Whether rounding to a type changes any of these values.
pub(super) fn rounds(dtype: SaveDtype, values: &[f32]) -> bool {
    match dtype {
        SaveDtype::F32 => false,
        SaveDtype::F16 => values
            .iter()
            .any(|&v| half::f16::from_f32(v).to_f32().to_bits() != v.to_bits()),
        SaveDtype::BF16 => values
            .iter()
            .any(|&v| half::bf16::from_f32(v).to_f32().to_bits() != v.to_bits()),
    }
}

/// The bytes of a chunk of rows; keeps its buffers from chunk to chunk.
#[derive(Default)]
pub(crate) struct Encoder {
    halves: Vec<u16>,
    bytes: Vec<u8>,
}

impl Encoder {
    /// Rounds `values` to `dtype`. The message says which value does not fit.
    pub(crate) fn encode<'a>(
        &'a mut self,
        dtype: StorageDtype,
        values: &'a [f32],
    ) -> Result<&'a [u8], Fault> {
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let value = values[at];
            return Err(Fault::new(format!("value {at} of the chunk is {value}"))
                .hint("the source holds it: a damaged file, or training that diverged"));
        }
        match dtype {
            StorageDtype::F32 => return Ok(bytemuck::cast_slice(values)),
            StorageDtype::F16 => {
                self.halves.resize(values.len(), 0);
                let halves = bytemuck::cast_slice_mut::<u16, half::f16>(&mut self.halves);
                halves.convert_from_f32_slice(values);
                if let Some(at) = halves.iter().position(|v| !v.is_finite()) {
                    return Err(
                        Fault::new(format!("value {} is too large for f16", values[at]))
                            .hint("use bf16"),
                    );
                }
            }
            StorageDtype::BF16 => {
                self.halves.clear();
                self.halves
                    .extend(values.iter().map(|&v| half::bf16::from_f32(v).to_bits()));
            }
            StorageDtype::Quantised(GgmlDType::Q8_0) => {
                refuse_large(values, 127.0, "q8_0")?;
                self.bytes.clear();
                values
                    .as_chunks::<32>()
                    .0
                    .iter()
                    .for_each(|block| q8_0(block, &mut self.bytes));
                return Ok(&self.bytes);
            }
            StorageDtype::Quantised(GgmlDType::Q4_0) => {
                refuse_large(values, 8.0, "q4_0")?;
                self.bytes.clear();
                values
                    .as_chunks::<32>()
                    .0
                    .iter()
                    .for_each(|block| q4_0(block, &mut self.bytes));
                return Ok(&self.bytes);
            }
            StorageDtype::Quantised(other) => {
                return Err(Fault::new(format!("{other:?} can't be written")));
            }
        }
        Ok(bytemuck::cast_slice(&self.halves))
    }
}

/// Refuses values whose block would have a scale (the largest of them / `steps`) that f16 can't hold.
fn refuse_large(values: &[f32], steps: f32, dtype: &str) -> Result<(), Fault> {
    let overflows = |v: &&f32| half::f16::from_f32(v.abs() / steps).is_infinite();
    match values.iter().find(overflows) {
        None => Ok(()),
        Some(value) => Err(Fault::new(format!(
            "value {value} is too large for {dtype}: the scale of its block overflows f16"
        ))
        .hint("use bf16")),
    }
}

/// One Q4_0 block as ggml's quantize_row_q4_0_ref has it: d = the value of largest magnitude / −8 stored as f16, then
/// x / d + 8 in four bits, value i beside value i + 16.
fn q4_0(values: &[f32; 32], out: &mut Vec<u8>) {
    let largest = values
        .iter()
        .fold(0.0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
    let d = largest / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out.extend_from_slice(&half::f16::from_f32(d).to_le_bytes());
    let four_bits = |v: f32| ((v * inverse + 8.5) as u8).min(15);
    out.extend((0..16).map(|i| four_bits(values[i]) | four_bits(values[i + 16]) << 4));
}

/// One Q8_0 block as ggml's quantize_row_q8_0_ref has it: d = max|x| / 127 stored as f16, then the rounded x / d.
fn q8_0(values: &[f32; 32], out: &mut Vec<u8>) {
    let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out.extend_from_slice(&half::f16::from_f32(d).to_le_bytes());
    out.extend(values.iter().map(|v| (v * inverse).round() as i8 as u8));
}
