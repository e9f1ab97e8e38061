//! Inputs and outputs that are, contain or lie in each other: replacing the one would destroy the other.
use crate::Error;
use crate::unfinished::{partial_path, real};
use std::path::{Path, PathBuf};

/// Refuses an output that is an input, contains it or lies in it.
///
/// # Errors
/// Only that; a path that leads nowhere overlaps nothing.
pub fn refuse_overlap(out: &Path, input: &Path) -> Result<(), Error> {
    let Ok(read) = std::fs::canonicalize(input) else {
        return Ok(());
    };
    let written = whole(&real(out));
    let how = if written == read {
        "is"
    } else if read.starts_with(&written) {
        "contains"
    } else if written.starts_with(&read) {
        "lies in"
    } else if read.starts_with(whole(&partial_path(out))) {
        "is written where it would empty"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "the output {} {how} the input {}",
        out.display(),
        input.display()
    ))
    .hint("choose an --out of its own: an output replaces what lies there"))
}

/// The path without links, also of what is not there yet.
fn whole(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for above in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (std::fs::canonicalize(above), path.strip_prefix(above)) {
            return if rest.as_os_str().is_empty() {
                real
            } else {
                real.join(rest)
            };
        }
    }
    path
}
