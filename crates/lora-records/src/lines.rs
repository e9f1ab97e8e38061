//! Files of JSON lines: every line is read, and a damaged one is an error that names it.
use crate::Error;
use serde::de::DeserializeOwned;
use std::path::Path;

/// What may be missing at the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The file is finished: every line is whole.
    Whole,
    /// The writer may have been killed: a last line without its line break may be cut off.
    CutOff,
}

/// All lines of `path` as `T`; `writer` is the tool that writes such files.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Path,
    writer: &'static str,
    end: End,
) -> Result<Vec<T>, Error> {
    let found = read_with_text(path, writer, end)?;
    Ok(found.into_iter().map(|(record, _)| record).collect())
}

/// As [`read`], each record with the text of its line.
pub(crate) fn read_with_text<T: DeserializeOwned>(
    path: &Path,
    writer: &'static str,
    end: End,
) -> Result<Vec<(T, String)>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let count = text.split_terminator('\n').count();
    let may_be_cut = end == End::CutOff && !text.ends_with('\n');
    let mut found = Vec::new();
    for (index, line) in text.split_terminator('\n').enumerate() {
        let number = index + 1;
        match serde_json::from_str(line) {
            Ok(record) => found.push((record, line.to_owned())),
            Err(_) if may_be_cut && number == count => {}
            Err(error) => {
                return Err(Error::Line {
                    path: path.to_path_buf(),
                    line: number,
                    reason: error.to_string(),
                    writer,
                });
            }
        }
    }
    Ok(found)
}
