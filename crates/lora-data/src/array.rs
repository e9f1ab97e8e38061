//! One JSON array of records, element by element: no more of it is held than one.
use crate::error::Mistake;
use crate::text_row::{At, LONGEST, TextRow, too_long};
use crate::{Error, unpack};
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

/// What comes next in the array.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Next {
    /// An element, or the end right behind the `[`.
    First,
    /// An element: a comma stood there.
    Element,
    /// A comma or the end.
    Comma,
    /// The rest of an element that is too long.
    Rest(Scan),
    /// Nothing but blanks.
    Nothing,
    /// Nothing that can be read.
    Broken,
}

/// The elements of an array whose `[` comes first in the reader.
pub(crate) struct Elements<R> {
    name: Arc<Path>,
    reader: R,
    next: Next,
    row: usize,
    /// Of the byte that comes next, from 1.
    line: usize,
    column: usize,
}

/// How far an element has been followed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Scan {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Scan {
    /// True if this byte stands behind the element.
    fn ends_before(&mut self, byte: u8) -> bool {
        if self.in_text {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' | b',' if self.depth == 0 => return true,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        false
    }
}

impl<R: BufRead> Elements<R> {
    /// `reader` stands before the `[`; blanks may come first.
    pub(crate) fn new(name: &Path, mut reader: R) -> Result<Self, Error> {
        let (mut line, mut column) = (1, 1);
        while let Some(byte) = peek(name, &mut reader)? {
            reader.consume(1);
            (line, column) = after(byte, line, column);
            if byte == b'[' {
                break;
            }
        }
        Ok(Self {
            name: name.into(),
            reader,
            next: Next::First,
            row: 0,
            line,
            column,
        })
    }

    /// The next byte that is no blank.
    fn skip_blanks(&mut self) -> Result<Option<u8>, Error> {
        while let Some(byte) = peek(&self.name, &mut self.reader)? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.take(1);
        }
        Ok(None)
    }

    /// Leaves the next bytes of the buffer behind.
    fn take(&mut self, count: usize) {
        let bytes = self.reader.fill_buf().unwrap_or_default();
        for byte in bytes.iter().take(count) {
            (self.line, self.column) = after(*byte, self.line, self.column);
        }
        self.reader.consume(count);
    }

    /// The next element, if `next` comes next; None behind the last one. Whoever fails leaves nothing to be read.
    fn find(&mut self, mut next: Next) -> Result<Option<TextRow>, Error> {
        loop {
            match (next, self.skip_blanks()?) {
                (Next::Broken, _) | (Next::Nothing, None) => return Ok(None),
                (Next::Rest(mut scan), Some(_)) => {
                    while !self.follow(&mut scan, |_| true)? {}
                    next = Next::Comma;
                }
                (Next::Nothing, Some(_)) => return Err(self.fault("trailing characters")),
                (_, None) => return Err(self.fault("EOF while parsing a list")),
                (Next::First | Next::Comma, Some(b']')) => {
                    self.take(1);
                    next = Next::Nothing;
                }
                (Next::Comma, Some(b',')) => {
                    self.take(1);
                    next = Next::Element;
                }
                (Next::Comma, Some(_)) => return Err(self.fault("expected `,` or `]`")),
                (Next::Element, Some(b']')) => return Err(self.fault("trailing comma")),
                (Next::First | Next::Element, Some(b',')) => {
                    return Err(self.fault("expected value"));
                }
                (Next::First | Next::Element, Some(_)) => return self.element().map(Some),
            }
        }
    }

    /// The element that begins here.
    fn element(&mut self) -> Result<TextRow, Error> {
        self.row += 1;
        let at = At::Element {
            row: self.row,
            line: self.line,
            column: self.column,
        };
        let mut bytes = Vec::new();
        let mut scan = Scan::default();
        let mut keep = |part: &[u8]| {
            bytes.extend_from_slice(part);
            bytes.len() <= LONGEST
        };
        let is_whole = self.follow(&mut scan, &mut keep)?;
        self.next = Next::Comma;
        if !is_whole {
            self.next = Next::Rest(scan);
            return Err(Error::mistake(&self.name, &at.place(), too_long()));
        }
        Ok(TextRow {
            name: self.name.clone(),
            at,
            bytes,
        })
    }

    /// Gives the bytes of an element as long as they are wanted; true if its end was met, or the file's: what is there
    /// then is no JSON, and its own error says so.
    fn follow(
        &mut self,
        scan: &mut Scan,
        mut give: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, Error> {
        loop {
            let chunk = fill(&self.name, &mut self.reader)?;
            let end = chunk.iter().position(|byte| scan.ends_before(*byte));
            let length = end.unwrap_or(chunk.len());
            let is_end = end.is_some() || chunk.is_empty();
            let is_wanted = give(&chunk[..length]);
            self.take(length);
            if is_end || !is_wanted {
                return Ok(is_wanted);
            }
        }
    }

    fn fault(&self, message: &str) -> Error {
        let place = format!("line {}, column {}", self.line, self.column);
        let what = Mistake::new(format!("not JSON: {message}"));
        let hint = "the file must hold one JSON array, or one JSON object a line; is it cut off?";
        Error::mistake(&self.name, &place, what.hint(hint)).and_all_behind()
    }
}

impl<R: BufRead> Iterator for Elements<R> {
    type Item = Result<TextRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = std::mem::replace(&mut self.next, Next::Broken);
        self.find(next).transpose()
    }
}

/// The place behind a byte.
fn after(byte: u8, line: usize, column: usize) -> (usize, usize) {
    match byte {
        b'\n' => (line + 1, 1),
        _ => (line, column + 1),
    }
}

fn fill<'r>(name: &Path, reader: &'r mut impl BufRead) -> Result<&'r [u8], Error> {
    reader
        .fill_buf()
        .map_err(|error| unpack::broken(name, error).and_all_behind())
}

fn peek(name: &Path, reader: &mut impl BufRead) -> Result<Option<u8>, Error> {
    fill(name, reader).map(|bytes| bytes.first().copied())
}
