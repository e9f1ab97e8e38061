//! A row of JSON as it was found in a text: it may be parsed by another than who found it.
use crate::Error;
use crate::error::Mistake;
use crate::numbers::{self, Fault};
use crate::raw_row::RawRow;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// What programs put before a text.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Bytes that a row may have: some ten million tokens. A longer one is no record but a file of another kind, and is
/// refused before it is parsed.
pub(crate) const LONGEST: usize = 64 << 20;

/// The bytes of one row.
pub(crate) struct TextRow {
    pub(crate) name: Arc<Path>,
    pub(crate) at: At,
    pub(crate) bytes: Vec<u8>,
}

/// Where a row stands; everything counts from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    /// It is a line.
    Line(usize),
    /// It is an element of an array, and begins there.
    Element {
        row: usize,
        line: usize,
        column: usize,
    },
}

impl At {
    pub(crate) fn place(self) -> String {
        match self {
            Self::Line(line) => format!("line {line}"),
            Self::Element { row, .. } => format!("row {row}"),
        }
    }

    /// The place in the file of what stands in a line and column of the row.
    fn within(self, line: usize, column: usize) -> String {
        let (line, column) = match self {
            Self::Line(at) => (at, column),
            Self::Element {
                line: first,
                column: start,
                ..
            } if line <= 1 => (first, start - 1 + column),
            Self::Element { line: first, .. } => (first + line - 1, column),
        };
        format!("line {line}, column {column}")
    }
}

impl TextRow {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn text(&self) -> &[u8] {
        let text = match self.at {
            At::Line(1) => self.bytes.strip_prefix(BOM).unwrap_or(&self.bytes),
            _ => &self.bytes,
        };
        text.trim_ascii()
    }

    /// The row that stands in it.
    pub(crate) fn read(self) -> Result<RawRow, Error> {
        let value = self.parse()?;
        Ok(RawRow {
            path: self.name,
            place: self.at.place(),
            value,
        })
    }

    fn parse(&self) -> Result<Value, Error> {
        let error = |place: &str, what| Error::mistake(&self.name, place, what);
        let text = std::str::from_utf8(self.text()).map_err(|fault| {
            let byte = fault.valid_up_to() + 1;
            let whole = match self.at {
                At::Line(_) => "line",
                At::Element { .. } => "row",
            };
            let what = Mistake::new(format!("not UTF-8 (byte {byte} of the {whole})"));
            error(&self.at.place(), what.hint("save the file as UTF-8"))
        })?;
        numbers::parse(text).map_err(|fault| match fault {
            Fault::Json(fault) => {
                let place = self.at.within(fault.line(), fault.column());
                error(&place, not_a_row(text, self.at, &fault))
            }
            Fault::TooLarge(number) => error(&self.at.place(), too_large(&number)),
        })
    }
}

pub(crate) fn too_long() -> Mistake {
    Mistake::new(format!("longer than {} MiB", LONGEST >> 20)).hint(
        "one row holds one record: split its text into several rows, or leave such rows out with --on-bad-line skip",
    )
}

/// serde_json's message without its own place; for a line that may be the first of a record written over several, what
/// to do about that.
fn not_a_row(text: &str, at: At, error: &serde_json::Error) -> Mistake {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    let what = Mistake::new(format!("not JSON: {message}"));
    let is_first_of_several = error.is_eof() && ["{", "["].contains(&text.trim());
    what.hint(match at {
        At::Line(_) if is_first_of_several => {
            "each line must hold one whole record: `jq -c . FILE > lines.jsonl` puts each on its own"
        }
        At::Line(_) => {
            "each line must hold one whole JSON object; is this line broken or cut off? --on-bad-line skip leaves such \
             lines out and counts them"
        }
        At::Element { .. } if error.is_eof() => {
            "the file is cut off: copy or download it again, and look at its last row"
        }
        At::Element { .. } => {
            "each element of the array must be one whole JSON object; --on-bad-line skip leaves out what can't be \
             read and counts it"
        }
    })
}

fn too_large(number: &str) -> Mistake {
    Mistake::new(format!(
        "the number {number} is beyond 64 bits and would lose digits"
    ))
    .hint("write it as text, in quotes")
}
