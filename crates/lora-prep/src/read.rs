//! Raw rows from the files and the standard input that the command line names, gathered into batches.
use crate::Args;
use crate::source::Source;
use lora_cli::{Error, Result};
use lora_data::{RawRows, SplitName, UnreadRow};
use lora_receipt::Input;
use std::io::Read;
use std::path::Path;

/// Rows of a batch, and the bytes after which it is full before.
const ROWS: usize = 256;
const BYTES: usize = 256 << 10;

/// A row, and where it belongs.
pub(crate) struct SourceRow {
    pub(crate) row: Found,
    /// Its split, where files bring their own.
    pub(crate) split: Option<SplitName>,
    /// The place of its source's name.
    pub(crate) source: usize,
}

/// What was found where a row should be.
pub(crate) enum Found {
    Row(UnreadRow),
    /// One that can't be read; others may follow.
    Bad(lora_data::Error),
    /// Nothing can be read any more.
    End(Error),
}

impl Found {
    /// Bytes of its text.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Row(row) => row.bytes(),
            Self::Bad(_) | Self::End(_) => 0,
        }
    }
}

/// The sources; no row is held.
pub(crate) struct Raw {
    sources: Vec<Source>,
    /// Rows to train on that may be read still, if there is a limit.
    left: Option<usize>,
    /// The sources, as the command line names them.
    pub(crate) names: Vec<String>,
    /// The same with their hashes.
    pub(crate) inputs: Vec<Input>,
}

/// Gathers rows. Which rows make a batch depends on the rows alone.
struct Gatherer<F> {
    rows: Vec<SourceRow>,
    bytes: usize,
    give: F,
}

impl<F: FnMut(Vec<SourceRow>) -> bool> Gatherer<F> {
    /// One more row; false if no more are wanted.
    fn push(&mut self, row: SourceRow) -> bool {
        self.bytes += row.row.bytes();
        self.rows.push(row);
        let is_full = self.rows.len() >= ROWS || self.bytes >= BYTES;
        !is_full || self.flush()
    }

    fn flush(&mut self) -> bool {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        rows.is_empty() || (self.give)(rows)
    }
}

impl Raw {
    /// The sources of a command line.
    pub(crate) fn of(args: &Args) -> Result<Self> {
        Ok(Self {
            sources: Source::all(args)?,
            left: args.limit,
            names: Vec::new(),
            inputs: Vec::new(),
        })
    }

    /// The splits that files bring.
    pub(crate) fn own(&self) -> Vec<SplitName> {
        let brings = |name: &SplitName| self.sources.iter().any(|one| one.split == Some(*name));
        let held_out = [SplitName::Valid, SplitName::Test].into_iter();
        held_out.filter(brings).collect()
    }

    /// Gives all raw rows in batches, up to the limit (of those to train on), until it is told that no more are wanted.
    pub(crate) fn each(&mut self, give: impl FnMut(Vec<SourceRow>) -> bool) {
        let mut batches = Gatherer {
            rows: Vec::new(),
            bytes: 0,
            give,
        };
        for source in std::mem::take(&mut self.sources) {
            match self.source(&source, &mut |row| batches.push(row)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    batches.push(SourceRow {
                        row: Found::End(error),
                        split: source.split,
                        source: 0,
                    });
                    break;
                }
            }
        }
        batches.flush();
    }

    /// The rows of one source; false if no more are wanted.
    fn source(
        &mut self,
        source: &Source,
        give: &mut impl FnMut(SourceRow) -> bool,
    ) -> Result<bool> {
        let known = self.names.iter().position(|name| *name == source.given);
        let place = known.unwrap_or(self.names.len());
        if known.is_none() {
            self.names.push(source.given.clone());
        }
        let split = source.split;
        let is_held_out = matches!(split, Some(SplitName::Valid | SplitName::Test));
        let mut rows = open(&source.path, &mut self.inputs)?.unread();
        loop {
            let left = self.left.as_mut().filter(|_| !is_held_out);
            if left.as_ref().is_some_and(|left| **left == 0) {
                return Ok(true);
            }
            let row = match (rows.next(), left) {
                (None, _) => return Ok(true),
                (Some(Err(error)), _) => Found::Bad(error),
                (Some(Ok(row)), None) => Found::Row(row),
                // Only rows that can be read count.
                (Some(Ok(row)), Some(left)) => match row.read() {
                    Err(error) => Found::Bad(error),
                    Ok(row) => {
                        *left -= 1;
                        Found::Row(row.into())
                    }
                },
            };
            let source = place;
            if !give(SourceRow { row, split, source }) {
                return Ok(false);
            }
        }
    }
}

/// Opens one source, and adds it to the inputs. What can be read only once (standard input, a pipe, `<(…)`) is read whole.
fn open(path: &Path, inputs: &mut Vec<Input>) -> Result<RawRows> {
    let is_stdin = path.as_os_str() == "-";
    let is_file = || std::fs::metadata(path).is_ok_and(|about| about.is_file() || about.is_dir());
    if !is_stdin && (is_file() || !path.exists()) {
        let source = RawRows::open(path)?;
        inputs.push(Input::read("raw", path)?);
        return Ok(source);
    }
    let name = if is_stdin { Path::new("stdin") } else { path };
    let mut bytes = Vec::new();
    let read = match is_stdin {
        true => std::io::stdin().lock().read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| {
        let what = if is_stdin {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        Error::foreign(error).context(format!("failed to read {what}"))
    })?;
    inputs.push(Input::new("raw", path, lora_receipt::hash_bytes(&bytes)));
    Ok(RawRows::from_bytes(name, bytes)?)
}
