//! The strict GGUF parser: header, metadata and tensor table of hostile bytes → checked values, never a panic, and no
//! allocation that the file's own size does not bound.
use super::value::{Value, scalar_bytes};
use crate::blocks;
use crate::error::Fault;
use crate::storage::StorageDtype;
use candle_core::quantized::GgmlDType;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a GGUF file holds.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// Metadata by key.
    pub(crate) metadata: BTreeMap<String, Value>,
    /// Tensors by GGUF name.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Where the header's parts lie.
    pub(crate) places: Places,
}

/// Where the parts of the header lie in the file.
#[derive(Debug)]
pub(crate) struct Places {
    /// The metadata in their order: key, type and value of each.
    pub(crate) metadata: Vec<(String, Range<usize>)>,
    /// The tensor table.
    pub(crate) table: Range<usize>,
    /// Where the tensors begin, aligned.
    pub(crate) data: usize,
    pub(crate) alignment: usize,
}

/// One tensor; its range is inside the file, aligned for its type and of its shape's size.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    /// Shape with the fastest dimension last, as transformers has it.
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: StorageDtype,
    pub(crate) range: Range<usize>,
    /// Which of the files of a split model it lies in.
    pub(crate) file: usize,
}

/// ggml's own limit.
const MAX_DIMENSIONS: u32 = 4;

/// How many of a kind a header may claim, and the fewest bytes that one takes in the file. In memory each takes some
/// hundred bytes, so that the file's size alone is no bound.
struct Bound {
    most: u64,
    bytes: u64,
}

/// A key: the length of its name, the type, one byte of a value.
const KEY: Bound = Bound {
    most: 1 << 16,
    bytes: 13,
};
/// A tensor: the length of its name, the number of dimensions, one dimension, type and offset.
const TENSOR: Bound = Bound {
    most: 1 << 20,
    bytes: 32,
};

fn cut_off() -> Fault {
    Fault::new("the file ends in the middle of its header")
        .hint("was the download or the copy cut off?")
}

/// Parses a whole file. The message is one line, with a hint where one helps.
pub(crate) fn parse(bytes: &[u8]) -> Result<Gguf, Fault> {
    let mut reader = Reader { bytes, at: 0 };
    if bytes.get(..4) != Some(b"GGUF".as_slice()) {
        return Err(
            Fault::new("not a GGUF file (it does not start with \"GGUF\")")
                .hint("name a Hugging Face model folder or a GGUF file"),
        );
    }
    reader.at = 4;
    let version = reader.u32()?;
    match version {
        2 | 3 => {}
        v if v.swap_bytes() == 2 || v.swap_bytes() == 3 => {
            return Err(Fault::new("a big-endian GGUF file can't be read"));
        }
        v => {
            return Err(Fault::new(format!("GGUF version {v} can't be read"))
                .hint("versions 2 and 3 can; convert the model again"));
        }
    }
    let tensor_count = reader.u64()?;
    let metadata_count = reader.u64()?;
    reader.bound(metadata_count, "metadata keys", KEY)?;
    reader.bound(tensor_count, "tensors", TENSOR)?;
    let mut metadata = BTreeMap::new();
    let mut places = Vec::new();
    for _ in 0..metadata_count {
        let start = reader.at;
        let key = reader.string()?;
        let kind = reader.u32()?;
        let value = reader
            .value(kind)
            .map_err(|fault| fault.at(format_args!("metadata {key}")))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(Fault::new(format!("metadata {key} is listed twice")));
        }
        places.push((key, start..reader.at));
    }
    let alignment = alignment(&metadata)?;
    let start = reader.at;
    let tensors = table(&mut reader, tensor_count, alignment)?;
    let places = Places {
        metadata: places,
        table: start..reader.at,
        data: reader.at.next_multiple_of(alignment as usize),
        alignment: alignment as usize,
    };
    Ok(Gguf {
        metadata,
        tensors,
        places,
    })
}

/// What the offsets of tensors are multiples of.
fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, Fault> {
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(value) => value.as_u64().unwrap_or(0),
    };
    if !alignment.is_power_of_two() || !(8..=1 << 20).contains(&alignment) {
        return Err(Fault::new(format!(
            "general.alignment {alignment} is not a power of two from 8"
        )));
    }
    Ok(alignment)
}

/// The tensor table. Offsets count from the first aligned byte after it.
fn table(
    reader: &mut Reader,
    count: u64,
    alignment: u64,
) -> Result<BTreeMap<String, Tensor>, Fault> {
    let mut rows = Vec::new();
    for _ in 0..count {
        let name = reader.string()?;
        let row = reader
            .tensor_row()
            .map_err(|fault| fault.at(format_args!("tensor {name}")))?;
        rows.push((name, row));
    }
    let data = (reader.at as u64).next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    let mut used: Vec<(Range<usize>, String)> = Vec::new();
    for (name, (shape, dtype, offset)) in rows {
        let bytes = byte_size(&shape, dtype)
            .ok_or_else(|| format!("tensor {name}: the shape {shape:?} does not fit {dtype:?}"))?;
        if offset % alignment != 0 {
            return Err(Fault::new(format!(
                "tensor {name}: offset {offset} is not aligned to {alignment}"
            )));
        }
        let start = data
            .checked_add(offset)
            .and_then(|s| usize::try_from(s).ok());
        let range = start
            .and_then(|s| Some(s..s.checked_add(bytes)?))
            .filter(|r| r.end <= reader.bytes.len())
            .ok_or_else(|| {
                Fault::new(format!("tensor {name} lies beyond the end of the file"))
                    .hint("was the download or the copy cut off?")
            })?;
        used.push((range.clone(), name.clone()));
        if tensors
            .insert(
                name.clone(),
                Tensor {
                    shape,
                    dtype,
                    range,
                    file: 0,
                },
            )
            .is_some()
        {
            return Err(Fault::new(format!("tensor {name} is listed twice")));
        }
    }
    used.sort_by_key(|(range, _)| range.start);
    for pair in used.windows(2) {
        if pair[0].0.end > pair[1].0.start {
            return Err(Fault::new(format!(
                "tensors {} and {} overlap",
                pair[0].1, pair[1].1
            )));
        }
    }
    Ok(tensors)
}

/// Bytes of a tensor whose rows are whole blocks; None if they are not, or if the size overflows.
fn byte_size(shape: &[usize], dtype: StorageDtype) -> Option<usize> {
    let (values, bytes) = dtype.unit();
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    if count == 0 || shape.last()? % values != 0 {
        return None;
    }
    (count / values).checked_mul(bytes)
}

/// ggml's type codes.
fn dtype(code: u32) -> Result<StorageDtype, Fault> {
    use GgmlDType::*;
    let quantised = match code {
        0 => return Ok(StorageDtype::F32),
        1 => return Ok(StorageDtype::F16),
        30 => return Ok(StorageDtype::BF16),
        39 => return Ok(StorageDtype::Mxfp4),
        2 => Q4_0,
        3 => Q4_1,
        6 => Q5_0,
        7 => Q5_1,
        8 => Q8_0,
        10 => Q2K,
        11 => Q3K,
        12 => Q4K,
        13 => Q5K,
        14 => Q6K,
        other => {
            return Err(Fault::new(format!("ggml type {other} can't be read"))
                .hint("F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K and MXFP4 can"));
        }
    };
    debug_assert!(blocks::is_readable(quantised));
    Ok(StorageDtype::Quantised(quantised))
}

/// A position in the file's bytes; every step is checked.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64) -> Result<&'a [u8], Fault> {
        let slice = usize::try_from(n)
            .ok()
            .and_then(|n| self.at.checked_add(n))
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(cut_off)?;
        self.at += slice.len();
        Ok(slice)
    }
    /// Refuses a count that the rest of the file can't hold, or that no model has.
    fn bound(&self, count: u64, what: &str, bound: Bound) -> Result<(), Fault> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left / bound.bytes {
            return Err(cut_off());
        }
        if count > bound.most {
            let most = bound.most;
            return Err(Fault::new(format!(
                "the header claims {count} {what}, more than any model has ({most})"
            ))
            .hint("was the download or the copy damaged?"));
        }
        Ok(())
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }
    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }
    fn string(&mut self) -> Result<String, Fault> {
        let length = self.u64()?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8")?;
        Ok(text.to_owned())
    }
    fn scalar(&mut self, kind: u32) -> Result<Value, Fault> {
        Ok(match kind {
            0 => Value::U8(u8::from_le_bytes(self.array()?)),
            1 => Value::I8(i8::from_le_bytes(self.array()?)),
            2 => Value::U16(u16::from_le_bytes(self.array()?)),
            3 => Value::I16(i16::from_le_bytes(self.array()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.array()?)),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::String(self.string()?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            other => return Err(Fault::new(format!("unknown value type {other}"))),
        })
    }
    fn value(&mut self, kind: u32) -> Result<Value, Fault> {
        if kind != 9 {
            return self.scalar(kind);
        }
        let kind = self.u32()?;
        let count = self.u64()?;
        match kind {
            8 => self.strings(count).map(Value::Strings),
            9 => Err(Fault::new("arrays of arrays can't be read")),
            kind => {
                let width = scalar_bytes(kind).ok_or(format!("unknown value type {kind}"))?;
                let bytes = self.take(count.saturating_mul(width))?;
                let four = bytes.as_chunks::<4>().0.iter();
                Ok(match kind {
                    5 => Value::I32s(four.map(|b| i32::from_le_bytes(*b)).collect()),
                    6 => Value::F32s(four.map(|b| f32::from_le_bytes(*b)).collect()),
                    code => Value::Others {
                        code,
                        bytes: bytes.to_vec(),
                    },
                })
            }
        }
    }
    /// `count` texts, each of at least the eight bytes of its length: a lying count is found before memory is taken.
    fn strings(&mut self, count: u64) -> Result<Vec<String>, Fault> {
        let left = self.bytes.len() - self.at;
        if count > left as u64 / 8 {
            return Err(cut_off());
        }
        let mut texts = Vec::with_capacity(count as usize);
        for _ in 0..count {
            texts.push(self.string()?);
        }
        Ok(texts)
    }
    fn tensor_row(&mut self) -> Result<(Vec<usize>, StorageDtype, u64), Fault> {
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(Fault::new(format!(
                "{dimensions} dimensions, expected 1 to {MAX_DIMENSIONS}"
            )));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = self.u64()?;
            shape
                .push(usize::try_from(size).map_err(|_| format!("dimension {size} is too large"))?);
        }
        shape.reverse();
        let dtype = dtype(self.u32()?)?;
        Ok((shape, dtype, self.u64()?))
    }
}
