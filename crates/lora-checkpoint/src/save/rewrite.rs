//! A GGUF file again, with some of its weights changed, each in the type that it has: header, order, padding and every other
//! tensor are the source's own bytes.
use super::encode::{Encoder, Rows};
use super::folder::CHUNK_VALUES;
use super::gguf::put_entry;
use super::verify::verify;
use crate::blocks::widen;
use crate::ends;
use crate::error::{Error, invalid, io};
use crate::gguf::Value;
use crate::gguf::parse::Gguf;
use crate::view::TensorView;
use crate::{Chat, Checkpoint};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// What changes in a file, by the Hugging Face names of weights.
pub trait Edit<E> {
    /// Whether a weight changes at all.
    fn changes(&self, name: &str) -> bool;
    /// Changes whole rows from `first` on, in Hugging Face's order, before they are rounded to their type.
    ///
    /// # Errors
    /// As the caller has them.
    fn edit(&mut self, view: &TensorView<'_>, first: usize, rows: &mut [f32]) -> Result<(), E>;
    /// Sees the same rows as the file has them now.
    fn wrote(&mut self, rows: &[f32]);
}

/// Writes the GGUF file of `model` to `path` with the changes of `edit`. Blocks in which no value changes keep their bytes.
/// Chats that the model was given in place of its own (see [`Checkpoint::with_chat`]) are written, and an end of an answer that
/// it was given; all other metadata stays.
///
/// # Errors
/// If the model is no GGUF file, has no tensor for a head of its own, or a changed value does not fit its type.
pub fn rewrite_gguf<E: From<Error>>(
    path: &Path,
    model: &Checkpoint,
    edit: &mut impl Edit<E>,
) -> Result<(), E> {
    model.refuse_own_file(path)?;
    let Some((gguf, files)) = model.gguf_files() else {
        return Err(invalid(model.path(), "not a GGUF file").into());
    };
    let [file] = files else {
        let what = format!("a model in {} files can't be written again", files.len());
        let hint =
            "write a folder, and export that: lora-export --model DIR --dtype TYPE --out m.gguf";
        return Err(invalid(model.path(), what).hint(hint).into());
    };
    let bytes = file.bytes();
    let mut file =
        BufWriter::with_capacity(1 << 20, File::create(path).map_err(io("create", path))?);
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(io("write", path));
    let chat = match model.has_other_chat() {
        true => Some(model.chat()?),
        false => None,
    };
    let end = model
        .added_end
        .map(|end| ends::metadata(gguf, model.path(), end));
    put(&header(gguf, bytes, chat.as_ref(), end.transpose()?))?;
    let mut weights: Vec<TensorView<'_>> = Vec::new();
    for name in model.tensor_names() {
        if edit.changes(&name) {
            weights.push(model.tensor(&name)?);
        }
    }
    // Gate and up may be one weight in two places.
    let halves = |view: &TensorView<'_>| view.starts().enumerate().collect::<Vec<_>>();
    let mut places: Vec<(usize, usize, usize)> = Vec::new();
    for (index, view) in weights.iter().enumerate() {
        places.extend(
            halves(view)
                .into_iter()
                .map(|(half, start)| (start, index, half)),
        );
    }
    places.sort_unstable();
    let mut at = gguf.places.data;
    let mut changed = Changed::default();
    for (start, index, half) in places {
        let view = &weights[index];
        put(&bytes[at..start])?;
        changed.read(view, half, path, edit)?;
        put(&changed.stored)?;
        at = start + changed.stored.len();
    }
    put(&bytes[at..])?;
    file.flush().map_err(io("write", path))?;
    verify(path, model.config(), &model.chat()?)?;
    Ok(())
}

/// The source's header, with other chats in it if there are some, and one more end of an answer; the tensor table's offsets
/// count from its end, and stay.
fn header(gguf: &Gguf, bytes: &[u8], chat: Option<&Chat>, end: Option<(String, Value)>) -> Vec<u8> {
    if chat.is_none() && end.is_none() {
        return bytes[..gguf.places.data].to_vec();
    }
    let entries = &gguf.places.metadata;
    let added: Vec<_> = chat.map(Chat::metadata).unwrap_or_default();
    let added: Vec<_> = added.into_iter().chain(end).collect();
    let is_replaced = |key: &str| {
        chat.is_some() && Chat::is_key(key) || added.iter().any(|(other, _)| other == key)
    };
    let kept: Vec<_> = entries
        .iter()
        .filter(|(key, _)| !is_replaced(key))
        .collect();
    let mut out = bytes[..16].to_vec(); // magic, version and the number of tensors
    out.extend(((kept.len() + added.len()) as u64).to_le_bytes());
    for (_, place) in kept {
        out.extend(&bytes[place.clone()]);
    }
    for (key, value) in &added {
        put_entry(&mut out, key, value);
    }
    out.extend(&bytes[gguf.places.table.clone()]);
    out.resize(out.len().next_multiple_of(gguf.places.alignment), 0);
    out
}

/// One tensor with its changes; keeps its buffers from tensor to tensor.
#[derive(Default)]
struct Changed {
    /// As the file will have it.
    stored: Vec<u8>,
    /// The row that it begins with.
    begin: usize,
    encoder: Encoder,
    /// Some rows before the change, after it, and as they are stored.
    before: Vec<f32>,
    rows: Vec<f32>,
    rounded: Vec<f32>,
}

impl Changed {
    fn read<E: From<Error>>(
        &mut self,
        view: &TensorView<'_>,
        half: usize,
        path: &Path,
        edit: &mut impl Edit<E>,
    ) -> Result<(), E> {
        self.stored.clear();
        let (own, rows) = match (half, view.stored_rest().is_empty()) {
            (_, true) => (view.stored(), 0..view.rows()),
            (0, false) => (view.stored(), 0..view.rows() / 2),
            (_, false) => (view.stored_rest(), view.rows() / 2..view.rows()),
        };
        self.stored.extend_from_slice(own);
        self.begin = rows.start;
        let columns = view.columns();
        let per_chunk = (CHUNK_VALUES / columns).max(1);
        let mut first = rows.start;
        while first < rows.end {
            let count = per_chunk.min(rows.end - first);
            self.rows.resize(count * columns, 0.0);
            view.read_rows(first, &mut self.rows);
            self.before.clone_from(&self.rows);
            edit.edit(view, first, &mut self.rows)?;
            self.store(view, path, first)?;
            edit.wrote(&self.rounded);
            first += count;
        }
        Ok(())
    }

    /// Rounds the rows to the tensor's type and puts what changed where the file has it.
    fn store(&mut self, view: &TensorView<'_>, path: &Path, first: usize) -> Result<(), Error> {
        let offset = view.offset();
        let (values, bytes) = view.dtype().unit();
        let units = |rows: &[f32]| rows.len() / values;
        view.store_columns(&mut self.rows);
        view.store_columns(&mut self.before);
        let is_same: Vec<bool> = (0..units(&self.rows))
            .map(|unit| unit * values..(unit + 1) * values)
            .map(|unit| self.rows[unit.clone()] == self.before[unit])
            .collect();
        self.rows.iter_mut().for_each(|v| *v += offset);
        let chunk = Rows {
            values: &self.rows,
            columns: view.columns(),
            importance: None,
        };
        let encoded = self
            .encoder
            .encode(view.dtype(), chunk)
            .map_err(|fault| invalid(path, fault.at(format!("tensor {}", view.name()))))?;
        self.rounded.resize(self.rows.len(), 0.0);
        widen(view.dtype(), encoded, &mut self.rounded);
        // The values of a vector may be out of order, as the rows of a matrix.
        let per_row = match view.shape().len() {
            1 => 1,
            _ => view.columns() / values,
        };
        for (unit, &is_same) in is_same.iter().enumerate() {
            let at = unit * values..(unit + 1) * values;
            if is_same {
                self.rounded[at.clone()].copy_from_slice(&self.before[at]);
                continue;
            }
            self.rounded[at].iter_mut().for_each(|v| *v -= offset);
            let row = view.place(first + unit / per_row) - self.begin;
            let place = row * per_row + unit % per_row;
            self.stored[place * bytes..][..bytes]
                .copy_from_slice(&encoded[unit * bytes..][..bytes]);
        }
        view.restore_columns(&mut self.rounded);
        Ok(())
    }
}
