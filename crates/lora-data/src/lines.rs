//! JSON lines: one record a line.
use crate::text_row::{At, LONGEST, TextRow, too_long};
use crate::{Error, unpack};
use std::io::{BufRead, Read as _};
use std::path::Path;
use std::sync::Arc;

/// JSON lines: blank lines are skipped, CRLF and a byte order mark are taken.
pub(crate) struct Lines<R> {
    name: Arc<Path>,
    reader: R,
    line: usize,
    broken: bool,
    /// The rest of a line that is too long comes next.
    in_rest: bool,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(name: &Path, reader: R) -> Self {
        Self {
            name: name.into(),
            reader,
            line: 0,
            broken: false,
            in_rest: false,
        }
    }

    fn fail(&mut self, error: Error) -> Option<Result<TextRow, Error>> {
        self.broken = true;
        Some(Err(error.and_all_behind()))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<TextRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.broken {
            if std::mem::take(&mut self.in_rest)
                && let Err(source) = self.reader.skip_until(b'\n')
            {
                return self.fail(unpack::broken(&self.name, source));
            }
            let mut bytes = Vec::new();
            let read = (&mut self.reader)
                .take(LONGEST as u64 + 1)
                .read_until(b'\n', &mut bytes);
            self.line += 1;
            match read {
                Err(source) => {
                    return self.fail(unpack::broken(&self.name, source));
                }
                Ok(0) => return None,
                Ok(read) if read > LONGEST => {
                    self.in_rest = !bytes.ends_with(b"\n");
                    let place = format!("line {}", self.line);
                    return Some(Err(Error::mistake(&self.name, &place, too_long())));
                }
                Ok(_) => {}
            }
            let row = TextRow {
                name: self.name.clone(),
                at: At::Line(self.line),
                bytes,
            };
            if !row.text().is_empty() {
                return Some(Ok(row));
            }
        }
        None
    }
}
