//! Whether what is read is what its tool wrote.
use crate::hash::with_hashed;
use crate::mark::is_read;
use crate::receipt::{Output, Receipt, beside};
use crate::{Error, FILE_NAME, io};
use serde::de::IgnoredAny;
use std::path::{Path, PathBuf};

/// So many folders above a path may hold its receipt: a checkpoint lies two below its run.
const FOLDERS_ABOVE: usize = 3;

/// A file that is not what its receipt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// It is gone; else its bytes are others.
    pub is_gone: bool,
    /// The tool that wrote it.
    pub tool: String,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, tool) = (self.path.display(), &self.tool);
        match self.is_gone {
            true => write!(f, "{path} is gone: {tool} wrote it"),
            false => write!(f, "{path} is not what {tool} wrote: it has changed since"),
        }
    }
}

/// The first file at or below `path` that tools read and that is not what its receipt says; none if all are, or if there is
/// no receipt. Looked for are `path`'s own receipt, and that of a folder above which lists it.
///
/// # Errors
/// When a file can't be read, or when the receipt of the folder is no JSON any more.
pub fn changed_since(path: &Path) -> Result<Option<Change>, Error> {
    let Some((root, receipt)) = receipt_over(path)? else {
        return Ok(None);
    };
    let path = std::path::absolute(path).map_err(io("read", path))?;
    for output in &receipt.outputs {
        let is_file = !root.is_dir();
        let file = match is_file {
            true => root.clone(),
            false => root.join(&output.path),
        };
        let is_asked = is_file || file.starts_with(&path);
        if !is_asked || !(is_file || is_read(&output.path)) {
            continue;
        }
        let is_gone = !file.is_file();
        if is_gone || with_hashed(|hashes| hashes.file(&file))?.0 != output.sha256 {
            return Ok(Some(Change {
                path: file,
                is_gone,
                tool: receipt.tool,
            }));
        }
    }
    Ok(None)
}

/// The receipt that speaks of `path`, and the whole path of the output that it is the receipt of.
pub(crate) fn receipt_over(path: &Path) -> Result<Option<(PathBuf, Receipt)>, Error> {
    let path = std::path::absolute(path).map_err(io("read", path))?;
    if path.is_file()
        && let Some(receipt) = read(&beside(&path, ".receipt.json"))?
    {
        return Ok(Some((path, receipt)));
    }
    let mut folder = path.as_path();
    for _ in 0..=FOLDERS_ABOVE {
        if let Some(receipt) = read(&folder.join(FILE_NAME))? {
            let speaks_of_it = |output: &Output| folder.join(&output.path).starts_with(&path);
            let is_its = folder == path || receipt.outputs.iter().any(speaks_of_it);
            return Ok(is_its.then(|| (folder.to_path_buf(), receipt)));
        }
        match folder.parent() {
            Some(parent) => folder = parent,
            None => break,
        }
    }
    Ok(None)
}

/// The receipt in a file; none if there is no such file, or if it is JSON that somebody calls so.
fn read(path: &Path) -> Result<Option<Receipt>, Error> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(None);
    };
    let shown = path.display().to_string();
    if let Err(error) = serde_json::from_str::<IgnoredAny>(&text) {
        let error = Error::invalid(format!("{shown} is damaged: {error}"));
        return Err(error.hint("make the output again; in a pipeline, lora-run puts it back"));
    }
    Ok(Receipt::parse(&text, &shown).ok())
}
