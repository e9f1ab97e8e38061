//! An adapter's tensor file as bytes.
use crate::{Error, Fault};
use safetensors::tensor::SafeTensors;
use std::path::{Path, PathBuf};

/// A safetensors file, read whole.
pub(crate) struct TensorFile {
    pub(crate) path: PathBuf,
    bytes: Vec<u8>,
}

impl TensorFile {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let path = path.to_path_buf();
        Ok(Self { path, bytes })
    }

    /// Its tensors.
    pub(crate) fn tensors(&self) -> Result<SafeTensors<'_>, Error> {
        SafeTensors::deserialize(&self.bytes).map_err(|e| {
            self.invalid(
                Fault::new(format!("not a readable safetensors file: {e}"))
                    .hint("was the download or the copy cut off?"),
            )
        })
    }

    /// What is wrong with it.
    pub(crate) fn invalid(&self, fault: impl Into<Fault>) -> Error {
        Error::invalid(&self.path, fault)
    }
}
