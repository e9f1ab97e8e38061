//! f32 rows → stored bytes, rounded once to the nearest (ties to even).
use super::dtype::GgufDtype;
use crate::error::Fault;
use crate::quantise;
use crate::storage::StorageDtype;
use crate::{Checkpoint, Error};
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

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
        let is_quantised = own.iter().any(|d| d.is_quantised());
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

/// Some rows of a tensor.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    /// Values of a row.
    pub(crate) columns: usize,
    /// What an error in each column weighs, where blocks are rounded by it.
    pub(crate) importance: Option<&'a [f32]>,
}

/// Values that a thread quantises at a time.
const TASK_VALUES: usize = 1 << 14;

/// The bytes of a chunk of rows; keeps its buffers from chunk to chunk.
#[derive(Default)]
pub(crate) struct Encoder {
    halves: Vec<u16>,
    bytes: Vec<u8>,
}

impl Encoder {
    /// Rounds values to `dtype`. The message says which value does not fit.
    pub(crate) fn encode<'a>(
        &'a mut self,
        dtype: StorageDtype,
        rows: Rows<'a>,
    ) -> Result<&'a [u8], Fault> {
        let values = rows.values;
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
            StorageDtype::Mxfp4Apart => {
                return Err(Fault::new("MXFP4 can be written in GGUF alone"));
            }
            StorageDtype::Quantised(_) | StorageDtype::Mxfp4 => {
                self.quantise(dtype, rows)?;
                return Ok(&self.bytes);
            }
        }
        Ok(bytemuck::cast_slice(&self.halves))
    }

    /// Quantises rows, some of them in each task. Refuses a block whose scale f16 can't hold.
    fn quantise(&mut self, dtype: StorageDtype, rows: Rows<'_>) -> Result<(), Fault> {
        let (block_values, block_bytes) = dtype.unit();
        let row_bytes = rows.columns / block_values * block_bytes;
        let count = rows.values.len() / rows.columns;
        self.bytes.clear();
        self.bytes.resize(count * row_bytes, 0);
        let per_task = (TASK_VALUES / rows.columns).max(1);
        let values = rows.values.par_chunks(per_task * rows.columns);
        let blocks = self.bytes.par_chunks_mut(per_task * row_bytes);
        values.zip(blocks).for_each(|(values, out)| {
            quantise::rows(dtype, values, rows.columns, rows.importance, out);
        });
        let Some(block) = quantise::overflow(dtype, &self.bytes) else {
            return Ok(());
        };
        let values = &rows.values[block * block_values..][..block_values];
        let largest = values
            .iter()
            .fold(0.0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
        Err(Fault::new(format!(
            "value {largest} is too large for {}: the scale of its block overflows f16",
            name(dtype)
        ))
        .hint("use bf16"))
    }
}

/// The name of a block type, as llama.cpp writes it.
fn name(dtype: StorageDtype) -> String {
    let written = GgufDtype::of(dtype);
    written.map_or_else(|| format!("{dtype:?}"), |dtype| dtype.name().to_owned())
}
