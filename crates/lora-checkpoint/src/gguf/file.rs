//! Any GGUF file as it is: metadata and tensors under their own names. A model in one is [`crate::Checkpoint`]'s business.
use super::parse::{Gguf, Tensor, parse};
use super::value::Value;
use crate::error::{Error, invalid};
use crate::mapped::Mapped;
use crate::view::{Entry, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// An opened GGUF file, mmapped.
#[derive(Debug)]
pub struct GgufFile {
    file: Mapped,
    gguf: Gguf,
    entries: BTreeMap<String, Entry>,
}

impl GgufFile {
    /// Opens and checks a file: every tensor lies inside it.
    ///
    /// # Errors
    /// Names the file and what is wrong in it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = Mapped::open(path)?;
        let gguf = parse(file.bytes()).map_err(|message| invalid(path, message))?;
        let entry = |(name, tensor): (&String, &Tensor)| {
            let (range, shape, dtype) = (tensor.range.clone(), tensor.shape.clone(), tensor.dtype);
            (name.clone(), Entry::plain(0, range, shape, dtype))
        };
        let entries = gguf.tensors.iter().map(entry).collect();
        Ok(Self {
            file,
            gguf,
            entries,
        })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// A metadata value.
    pub fn metadata(&self, key: &str) -> Option<&Value> {
        self.gguf.metadata.get(key)
    }

    /// All metadata, in the order of its keys.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.gguf
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Names of all tensors, sorted.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// A tensor as it is stored, its fastest dimension last.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, entry) = self.entries.get_key_value(name)?;
        Some(TensorView::new(name, entry, self.file.bytes()))
    }
}
