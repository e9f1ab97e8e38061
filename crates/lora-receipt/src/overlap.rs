//! Inputs and outputs that are, contain or lie in each other: replacing the one would destroy the other.
use crate::Error;
use crate::unfinished::{partial_path, real};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Refuses an output that is an input, contains it or lies in it.
///
/// # Errors
/// Only that; a path that leads nowhere overlaps nothing.
pub fn refuse_overlap(out: &Path, input: &Path) -> Result<(), Error> {
    Overlaps::default().refuse(out, input)
}

/// Looks for overlaps of many outputs and inputs, and at each place once: nothing moves meanwhile.
#[derive(Debug, Default)]
pub struct Overlaps {
    /// Paths without links; none of what is not there.
    real: HashMap<PathBuf, Option<PathBuf>>,
    /// Folders without links, also of what is not there yet.
    wholes: HashMap<PathBuf, PathBuf>,
    /// The last output: its path as it was asked for, without links, and that of what is written first.
    written: Option<(PathBuf, [PathBuf; 2])>,
    /// What relative paths count from.
    here: Option<PathBuf>,
}

impl Overlaps {
    /// Refuses an output that is an input, contains it or lies in it.
    ///
    /// # Errors
    /// Only that; a path that leads nowhere overlaps nothing.
    pub fn refuse(&mut self, out: &Path, input: &Path) -> Result<(), Error> {
        let Some(read) = self.real(input) else {
            return Ok(());
        };
        let [written, partial] = self.written(out);
        let how = if written == read {
            "is"
        } else if read.starts_with(&written) {
            "contains"
        } else if written.starts_with(&read) {
            "lies in"
        } else if read.starts_with(partial) {
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

    fn written(&mut self, out: &Path) -> [PathBuf; 2] {
        if let Some((_, places)) = self.written.as_ref().filter(|(of, _)| of == out) {
            return places.clone();
        }
        let places = [real(out), partial_path(out)].map(|path| self.whole(&path));
        self.written = Some((out.to_path_buf(), places.clone()));
        places
    }

    fn real(&mut self, path: &Path) -> Option<PathBuf> {
        if let Some(known) = self.real.get(path) {
            return known.clone();
        }
        let above = path.parent().and_then(|above| self.real.get(above));
        let found = match above {
            Some(None) => None, // nothing lies in what is not there
            _ => std::fs::canonicalize(path).ok(),
        };
        self.real.insert(path.to_path_buf(), found.clone());
        found
    }

    /// The path without links, also of what is not there yet.
    fn whole(&mut self, path: &Path) -> PathBuf {
        let here = self
            .here
            .get_or_insert_with(|| std::env::current_dir().unwrap_or_default());
        let path = here.join(path);
        if let Some(real) = self.real(&path) {
            return real;
        }
        let Some(above) = path.parent() else {
            return path;
        };
        let name = path.strip_prefix(above).unwrap_or(&path);
        match self.wholes.get(above) {
            Some(whole) => whole.join(name),
            None => {
                let whole = self.whole(above);
                self.wholes.insert(above.to_path_buf(), whole.clone());
                whole.join(name)
            }
        }
    }
}
