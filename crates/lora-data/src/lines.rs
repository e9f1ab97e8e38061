//! JSON lines: one record a line. A line is found by one who reads, and may be parsed by another.
use crate::error::Mistake;
use crate::raw_row::RawRow;
use crate::{Error, numbers, unpack};
use serde_json::Value;
use std::io::{BufRead, Read as _};
use std::path::Path;
use std::sync::Arc;

/// Bytes that one line, or a row of a table, may have: some ten million tokens. A longer one is no record but a file of another kind, and is refused
/// before it is parsed.
pub(crate) const LONGEST_LINE: u64 = 64 << 20;

/// What programs put before a text.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// JSON lines: blank lines are skipped, CRLF and a byte order mark are taken.
pub(crate) struct Lines<R> {
    name: Arc<Path>,
    reader: R,
    line: usize,
    broken: bool,
}

/// A line that was found.
pub(crate) struct Line {
    name: Arc<Path>,
    line: usize,
    bytes: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(name: &Path, reader: R) -> Self {
        Self {
            name: name.into(),
            reader,
            line: 0,
            broken: false,
        }
    }

    fn fail(&mut self, error: Error) -> Option<Result<Line, Error>> {
        self.broken = true;
        Some(Err(error))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.broken {
            let mut bytes = Vec::new();
            let read = (&mut self.reader)
                .take(LONGEST_LINE + 1)
                .read_until(b'\n', &mut bytes);
            self.line += 1;
            match read {
                Err(source) => {
                    return self.fail(unpack::broken(&self.name, source));
                }
                Ok(0) => return None,
                Ok(read) if read as u64 > LONGEST_LINE => {
                    self.broken = self.reader.skip_until(b'\n').is_err();
                    let place = format!("line {}", self.line);
                    return Some(Err(Error::mistake(&self.name, &place, too_long())));
                }
                Ok(_) => {}
            }
            let line = Line {
                name: self.name.clone(),
                line: self.line,
                bytes,
            };
            if !line.text().is_empty() {
                return Some(Ok(line));
            }
        }
        None
    }
}

impl Line {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn text(&self) -> &[u8] {
        let text = match self.line {
            1 => self.bytes.strip_prefix(BOM).unwrap_or(&self.bytes),
            _ => &self.bytes,
        };
        text.trim_ascii()
    }

    /// The row that stands in it.
    pub(crate) fn read(self) -> Result<RawRow, Error> {
        let place = format!("line {}", self.line);
        let value = self.parse(&place)?;
        Ok(RawRow {
            path: self.name,
            place,
            value,
        })
    }

    fn parse(&self, line: &str) -> Result<Value, Error> {
        let text = std::str::from_utf8(self.text()).map_err(|error| {
            let byte = error.valid_up_to() + 1;
            let what = Mistake::new(format!("not UTF-8 (byte {byte} of the line)"));
            Error::mistake(&self.name, line, what.hint("save the file as UTF-8"))
        })?;
        numbers::parse(text).map_err(|fault| match fault {
            numbers::Fault::Json(error) => {
                let place = format!("{line}, column {}", error.column());
                Error::mistake(&self.name, &place, not_a_line(text, &error))
            }
            numbers::Fault::TooLarge(number) => {
                Error::mistake(&self.name, line, too_large(&number))
            }
        })
    }
}

pub(crate) fn too_long() -> Mistake {
    Mistake::new(format!("longer than {} MiB", LONGEST_LINE >> 20)).hint(
        "one row holds one record: split its text into several rows, or leave such rows out with --on-bad-line skip",
    )
}

/// serde_json's message without its own place.
pub(crate) fn not_json(error: &serde_json::Error) -> Mistake {
    let text = error.to_string();
    Mistake::new(format!(
        "not JSON: {}",
        text.split(" at line ").next().unwrap_or(&text)
    ))
    .hint(
        "each line must hold one whole JSON object; is this line broken or cut off? --on-bad-line skip leaves such \
         lines out and counts them",
    )
}

/// The same for a line that may be the first of a record written over several.
fn not_a_line(text: &str, error: &serde_json::Error) -> Mistake {
    match error.is_eof() && ["{", "["].contains(&text.trim()) {
        true => not_json(error)
            .hint("each line must hold one whole record: `jq -c . FILE > lines.jsonl` puts each on its own"),
        false => not_json(error),
    }
}

pub(crate) fn too_large(number: &str) -> Mistake {
    Mistake::new(format!(
        "the number {number} is beyond 64 bits and would lose digits"
    ))
    .hint("write it as text, in quotes")
}
