//! GGUF version 3 as a stream: header, metadata and tensor table first, then rows as they are asked for.
use super::dtype::GgufDtype;
use super::encode::{Encoder, Rows};
use super::folder::CHUNK_VALUES;
use crate::error::{Error, invalid, io};
use crate::gguf::{Value, scalar_bytes};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// ggml's default alignment of tensor data.
const ALIGNMENT: usize = 32;

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufTensor {
    /// GGUF name.
    pub name: String,
    /// Shape with the fastest dimension last, e.g. (out, in).
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub dtype: GgufDtype,
}

impl GgufTensor {
    fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
    fn rows(&self) -> usize {
        self.shape
            .split_last()
            .map_or(1, |(_, rest)| rest.iter().product())
    }
    fn bytes(&self) -> usize {
        let (values, bytes) = self.dtype.storage().unit();
        self.rows() * self.columns() / values * bytes
    }
}

/// Writes a GGUF file. `fill(tensor, first_row, rows)` supplies the values of whole rows in file order.
///
/// # Panics
/// If the rows of a tensor in blocks are no whole number of them.
pub fn write_gguf<E: From<Error>>(
    path: &Path,
    metadata: &[(String, Value)],
    tensors: &[GgufTensor],
    mut fill: impl FnMut(usize, usize, &mut [f32]) -> Result<(), E>,
) -> Result<(), E> {
    let fill =
        |tensor: usize, first: usize, rows: &mut [f32]| fill(tensor, first, rows).map(|()| None);
    write_weighted(path, metadata, tensors, |_| None, fill)
}

/// As [`write_gguf`]; `importance(tensor)` has what an error in each column of a tensor in blocks weighs. `fill` gives the
/// bytes of rows that are written as they are, in the place of values.
pub(super) fn write_weighted<'a, E: From<Error>>(
    path: &Path,
    metadata: &[(String, Value)],
    tensors: &[GgufTensor],
    importance: impl Fn(usize) -> Option<&'a [f32]>,
    mut fill: impl FnMut(usize, usize, &mut [f32]) -> Result<Option<Vec<u8>>, E>,
) -> Result<(), E> {
    let mut file =
        BufWriter::with_capacity(1 << 20, File::create(path).map_err(io("create", path))?);
    file.write_all(&header(metadata, tensors))
        .map_err(io("write", path))?;
    let (mut encoder, mut rows) = (Encoder::default(), Vec::new());
    for (index, tensor) in tensors.iter().enumerate() {
        let columns = tensor.columns();
        assert_eq!(
            columns % tensor.dtype.storage().unit().0,
            0,
            "{}: rows are not whole blocks",
            tensor.name
        );
        let per_chunk = (CHUNK_VALUES / columns).max(1);
        let mut first = 0;
        while first < tensor.rows() {
            rows.resize(per_chunk.min(tensor.rows() - first) * columns, 0.0);
            let count = rows.len() / columns;
            if let Some(bytes) = fill(index, first, &mut rows)? {
                file.write_all(&bytes).map_err(io("write", path))?;
                first += count;
                continue;
            }
            let chunk = Rows {
                values: &rows,
                columns,
                importance: importance(index),
            };
            let bytes = encoder
                .encode(tensor.dtype.storage(), chunk)
                .map_err(|fault| {
                    let place = format!("tensor {}, rows from {first}", tensor.name);
                    invalid(path, fault.at(place))
                })?;
            file.write_all(bytes).map_err(io("write", path))?;
            first += count;
        }
        file.write_all(&[0; ALIGNMENT][..padding(tensor.bytes())])
            .map_err(io("write", path))?;
    }
    file.flush().map_err(io("write", path))?;
    Ok(())
}

/// Zero bytes up to the next aligned one.
fn padding(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT) - length
}

fn header(metadata: &[(String, Value)], tensors: &[GgufTensor]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_entry(&mut out, key, value);
    }
    let mut offset = 0;
    for tensor in tensors {
        text(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor
            .shape
            .iter()
            .rev()
            .for_each(|&d| out.extend((d as u64).to_le_bytes()));
        out.extend(tensor.dtype.code().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

/// A key with its value.
pub(super) fn put_entry(out: &mut Vec<u8>, key: &str, value: &Value) {
    text(out, key);
    out.extend(type_code(value).to_le_bytes());
    put(out, value);
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn type_code(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Strings(_) | Value::I32s(_) | Value::F32s(_) | Value::Others { .. } => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn put(out: &mut Vec<u8>, value: &Value) {
    let array = |out: &mut Vec<u8>, kind: u32, count: usize| {
        out.extend(kind.to_le_bytes());
        out.extend((count as u64).to_le_bytes());
    };
    match value {
        Value::U8(n) => out.extend(n.to_le_bytes()),
        Value::I8(n) => out.extend(n.to_le_bytes()),
        Value::U16(n) => out.extend(n.to_le_bytes()),
        Value::I16(n) => out.extend(n.to_le_bytes()),
        Value::U32(n) => out.extend(n.to_le_bytes()),
        Value::I32(n) => out.extend(n.to_le_bytes()),
        Value::F32(n) => out.extend(n.to_le_bytes()),
        Value::Bool(b) => out.push(u8::from(*b)),
        Value::String(s) => text(out, s),
        Value::U64(n) => out.extend(n.to_le_bytes()),
        Value::I64(n) => out.extend(n.to_le_bytes()),
        Value::F64(n) => out.extend(n.to_le_bytes()),
        Value::Strings(list) => {
            array(out, 8, list.len());
            list.iter().for_each(|s| text(out, s));
        }
        Value::I32s(list) => {
            array(out, 5, list.len());
            list.iter().for_each(|n| out.extend(n.to_le_bytes()));
        }
        Value::F32s(list) => {
            array(out, 6, list.len());
            list.iter().for_each(|n| out.extend(n.to_le_bytes()));
        }
        Value::Others { code, bytes } => {
            let width = scalar_bytes(*code).map_or(1, |bytes| bytes as usize);
            array(out, *code, bytes.len() / width);
            out.extend(bytes);
        }
    }
}
