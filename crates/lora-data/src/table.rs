//! Tables in text (CSV, TSV) as JSON rows: columns become keys, every value is text. No more of a table is held than a row.
use crate::error::{CUT_OFF, Mistake};
use crate::text_row::{BOM, LONGEST, too_long};
use crate::{Error, RawRow, unpack};
use csv_core::ReadFieldResult;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

/// What may stand between values, the usual first.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// What is read behind a table: a quote that is never closed would swallow all rows below it, and this last one too.
const LAST: &[u8] = b"\n\"\"";

/// Bytes of a value that are held ready; for a longer one the room grows.
const WIDE: usize = 64 << 10;

/// What may become of a table whose values don't fit its header.
const QUOTES: &str = "a value that holds the separator or a line break stands in double quotes";

/// The rows below a header.
pub(crate) struct Table<R> {
    name: Arc<Path>,
    header: Vec<String>,
    records: Records<R>,
    row: usize,
}

/// The records of a text.
struct Records<R> {
    reader: R,
    csv: csv_core::Reader,
    field: Vec<u8>,
    /// Of `LAST`, what is read already; None as long as the text goes on.
    last: Option<usize>,
    /// The text can't be read on.
    has_failed: bool,
    /// The rest of a record that is too long comes next: the line that it began in.
    rest_of: Option<u64>,
}

/// One record.
struct Record {
    /// The line that it begins in.
    line: u64,
    values: Values,
    /// It is what was read behind the text.
    is_last: bool,
}

enum Values {
    Texts(Vec<Vec<u8>>),
    /// More than a row may have.
    TooLong,
}

/// The separator of a table that begins with these bytes, if `usual` does not stand in its first line: another one
/// that does, if it is the only one.
pub(crate) fn separator(start: &[u8], usual: u8) -> u8 {
    let mut in_quotes = false;
    let mut found = Vec::new();
    for byte in start {
        match *byte {
            b'"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            b'\n' => break,
            byte if byte == usual => return usual,
            byte if SEPARATORS.contains(&byte) && !found.contains(&byte) => found.push(byte),
            _ => {}
        }
    }
    match found[..] {
        [other] => other,
        _ => usual,
    }
}

impl<R: BufRead> Table<R> {
    /// Reads the header.
    pub(crate) fn new(name: &Path, mut reader: R, separator: u8) -> Result<Self, Error> {
        let start = reader
            .fill_buf()
            .map_err(|error| unpack::broken(name, error))?;
        if start.starts_with(BOM) {
            reader.consume(BOM.len());
        }
        let mut records = Records {
            reader,
            csv: csv_core::ReaderBuilder::new().delimiter(separator).build(),
            field: vec![0; WIDE],
            last: None,
            has_failed: false,
            rest_of: None,
        };
        let broken = |message: &str| Error::invalid(name, format!("no readable CSV: {message}"));
        let header = records.next(name)?.filter(|record| !record.is_last);
        let Some(header) = header else {
            return Err(Error::invalid(name, "the file is empty").hint(CUT_OFF));
        };
        let Values::Texts(names) = header.values else {
            return Err(broken("the header is longer than a row may be"));
        };
        let names: Vec<String> = names
            .into_iter()
            .map(String::from_utf8)
            .collect::<Result<_, _>>()
            .map_err(|_| {
                Error::invalid(name, "line 1: not UTF-8").hint("save the file as UTF-8")
            })?;
        if names.iter().all(|name| name.trim().is_empty()) {
            return Err(broken("the header is missing"));
        }
        if let Some(at) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            return Err(broken(&format!("two columns are called '{}'", names[at])));
        }
        Ok(Self {
            name: name.into(),
            header: names,
            records,
            row: 0,
        })
    }

    fn read(&mut self) -> Result<Option<RawRow>, Error> {
        let Some(record) = self.records.next(&self.name)? else {
            return Ok(None);
        };
        let broken =
            |message: String| Error::invalid(&self.name, format!("no readable CSV: {message}"));
        let line = record.line;
        if record.is_last {
            return match record.values {
                Values::Texts(texts) if texts == [b""] => Ok(None),
                _ => {
                    let message = format!("line {line}: a quote is opened and never closed");
                    Err(broken(message).hint(QUOTES).and_all_behind())
                }
            };
        }
        self.row += 1;
        let place = format!("row {}", self.row);
        let Values::Texts(texts) = record.values else {
            let what = too_long().hint(
                "one row holds one record: is a quote opened before it and never closed? --on-bad-line skip leaves such \
                 rows out",
            );
            return Err(Error::mistake(&self.name, &place, what));
        };
        if texts.len() != self.header.len() {
            let (values, columns) = (texts.len(), self.header.len());
            let message =
                format!("line {line}: {values} values under a header of {columns} columns");
            return Err(broken(message).hint(QUOTES));
        }
        let mut value = serde_json::Map::new();
        let mut line = line;
        for (key, text) in self.header.iter().zip(texts) {
            let text = String::from_utf8(text).map_err(|fault| {
                let before = &fault.as_bytes()[..fault.utf8_error().valid_up_to()];
                let what = Mistake::new("not UTF-8").hint("save the file as UTF-8");
                Error::mistake(&self.name, &format!("line {}", line + breaks(before)), what)
            })?;
            line += breaks(text.as_bytes());
            value.insert(key.clone(), text.into());
        }
        Ok(Some(RawRow {
            path: self.name.clone(),
            place,
            value: value.into(),
        }))
    }
}

impl<R: BufRead> Iterator for Table<R> {
    type Item = Result<RawRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.records.has_failed {
            true => None,
            false => self.read().transpose(),
        }
    }
}

impl<R: BufRead> Records<R> {
    /// The next record; empty lines are none.
    fn next(&mut self, name: &Path) -> Result<Option<Record>, Error> {
        let mut line = self.csv.line();
        let mut texts = Vec::new();
        let (mut filled, mut total) = (0, 0);
        loop {
            let input = match self.last {
                Some(at) => &LAST[at..],
                None => self.reader.fill_buf().map_err(|error| {
                    self.has_failed = true;
                    unpack::broken(name, error).and_all_behind()
                })?,
            };
            if input.is_empty() && self.last.is_none() {
                self.last = Some(0);
                continue;
            }
            let is_last = input.is_empty();
            let (result, read, written) = self.csv.read_field(input, &mut self.field[filled..]);
            match &mut self.last {
                Some(at) => *at += read,
                None => self.reader.consume(read),
            }
            filled += written;
            let is_end = matches!(result, ReadFieldResult::Field { record_end: true });
            if let Some(began) = self.rest_of {
                filled = 0;
                line = self.csv.line();
                if is_end && is_last {
                    return Ok(Some(self.record(began, Values::TooLong, is_last)));
                }
                self.rest_of = (!is_end).then_some(began);
                if !matches!(result, ReadFieldResult::End) {
                    continue;
                }
            }
            if total + filled > LONGEST {
                self.rest_of = (!is_end).then_some(line);
                return Ok(Some(self.record(line, Values::TooLong, is_last)));
            }
            match result {
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::OutputFull => self.field.resize(2 * self.field.len(), 0),
                ReadFieldResult::Field { .. } => {
                    texts.push(self.field[..filled].to_vec());
                    total += filled;
                    filled = 0;
                }
                ReadFieldResult::End => return Ok(None),
            }
            if is_end {
                return Ok(Some(self.record(line, Values::Texts(texts), is_last)));
            }
        }
    }

    /// What was read, with little room held for the next one.
    fn record(&mut self, line: u64, values: Values, is_last: bool) -> Record {
        self.field.truncate(WIDE);
        self.field.shrink_to_fit();
        Record {
            line,
            values,
            is_last,
        }
    }
}

fn breaks(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}
