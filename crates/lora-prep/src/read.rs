//! Raw rows from the files and the standard input that the command line names, gathered into batches.
use crate::Args;
use crate::source::Source;
use lora_cli::{Error, Result};
use lora_data::{Format, RawRows, SplitName, UnreadRow};
use lora_receipt::{Hashing, Input};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

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
    format: Format,
    /// The run ends with the first row that can't be read: nothing behind it is looked at.
    ends_at_bad: bool,
    /// The sources, as the command line names them.
    pub(crate) names: Vec<String>,
    /// The same with their hashes.
    pub(crate) inputs: Vec<Input>,
    /// What was found out about them and people should know.
    pub(crate) notes: Vec<String>,
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
            format: Format {
                separator: args.separator.and_then(|one| u8::try_from(one).ok()),
            },
            ends_at_bad: !args.skips_bad_lines(),
            names: Vec::new(),
            inputs: Vec::new(),
            notes: Vec::new(),
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
                Ok(false) => break,
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
        let mut opened = Opened::new(&source.path, self.format, &mut self.inputs)?;
        if let Some(found) = opened.rows.found_separator() {
            self.notes.push(format!(
                "{}: its columns are separated by {found:?}, as its first line says (--separator names another)",
                source.path.display()
            ));
        }
        loop {
            let left = self.left.as_mut().filter(|_| !is_held_out);
            let wanted = left.as_ref().is_none_or(|left| **left > 0);
            let found = wanted.then(|| opened.rows.next_unread()).flatten();
            let row = match (found, left) {
                (None, _) => {
                    opened.close(&mut self.inputs)?;
                    return Ok(true);
                }
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
            let is_end = self.ends_at_bad && matches!(row, Found::Bad(_));
            let source = place;
            if !give(SourceRow { row, split, source }) || is_end {
                return Ok(false);
            }
        }
    }
}

/// A source that is being read.
struct Opened {
    rows: RawRows,
    /// What can be read only once: its hash is known when all of it was read.
    stream: Option<(PathBuf, Hashing<Box<dyn Read>>)>,
}

impl Opened {
    fn new(path: &Path, format: Format, inputs: &mut Vec<Input>) -> Result<Self> {
        let is_stdin = path.as_os_str() == "-";
        let is_file =
            || std::fs::metadata(path).is_ok_and(|about| about.is_file() || about.is_dir());
        if !is_stdin && (is_file() || !path.exists()) {
            let rows = RawRows::open(path, format)?;
            inputs.push(Input::read("raw", path)?);
            return Ok(Self { rows, stream: None });
        }
        let (name, reader): (&Path, Box<dyn Read>) = match is_stdin {
            true => (Path::new("stdin"), Box::new(std::io::stdin())),
            false => (path, Box::new(File::open(path).map_err(unreadable(path))?)),
        };
        let stream = Hashing::new(reader);
        let rows = RawRows::from_reader(name, stream.clone(), format)?;
        Ok(Self {
            rows,
            stream: Some((path.to_path_buf(), stream)),
        })
    }

    /// Reads the rest of what can be read only once, and adds it to the inputs.
    fn close(self, inputs: &mut Vec<Input>) -> Result<()> {
        drop(self.rows);
        if let Some((path, stream)) = self.stream {
            let sha256 = stream.finish().map_err(unreadable(&path))?;
            inputs.push(Input::new("raw", path, sha256));
        }
        Ok(())
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let what = match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    move |error| Error::foreign(error).context(format!("failed to read {what}"))
}
