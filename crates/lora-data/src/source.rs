//! Raw rows from files and from standard input: JSON lines, a JSON array, CSV, TSV, parquet and Arrow, each as JSON objects.
//! Every error names the file and the line or row.
use crate::arrow_rows::ArrowRows;
use crate::error::Mistake;
use crate::raw_row::RawRow;
use crate::unpack::{self, Begun, Kind};
use crate::{Error, numbers, table};
use bytes::Bytes;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

/// Bytes that one line may have; a longer one is no record but a file of another kind.
const LONGEST_LINE: u64 = 256 << 20;

/// Rows of one source, read as they are asked for (JSON lines) or at once (the others). After a line that can't be read
/// come those below it.
pub struct RawRows(Box<dyn Iterator<Item = Result<RawRow, Error>>>);

impl std::fmt::Debug for RawRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawRows")
    }
}

impl Iterator for RawRows {
    type Item = Result<RawRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl RawRows {
    /// Opens a file by what it is: parquet and Arrow by its first bytes, `.csv` and `.tsv` by its name, anything else as
    /// JSON lines or, if it begins with `[`, as one JSON array; each may be packed with gzip, zstd or xz.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Err(Error::invalid(path, "this is a folder").hint("name the files in it"));
        }
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let mut start = Vec::new();
        (&file)
            .take(6)
            .read_to_end(&mut start)
            .map_err(Error::io("read", path))?;
        file.rewind().map_err(Error::io("read", path))?;
        match Kind::of(&start) {
            Kind::Parquet => Ok(Self::of_arrow(ArrowRows::parquet(path, file)?)),
            _ if unpack::extension(path) == "parquet" && !start.starts_with(GZIP) => {
                Ok(Self::of_arrow(ArrowRows::parquet(path, file)?))
            }
            Kind::ArrowFile => Ok(Self::of_arrow(ArrowRows::file(path, file)?)),
            Kind::ArrowStream | Kind::Text => Self::from_reader(path, file),
        }
    }

    /// Rows of a file that is in memory already (standard input, a pipe).
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        match Kind::of(&bytes) {
            Kind::Parquet => Ok(Self::of_arrow(ArrowRows::parquet(
                name,
                Bytes::from(bytes),
            )?)),
            Kind::ArrowFile => Ok(Self::of_arrow(ArrowRows::file(name, Cursor::new(bytes))?)),
            Kind::ArrowStream | Kind::Text => Self::from_reader(name, Cursor::new(bytes)),
        }
    }

    /// Rows of a stream; `name` stands for it in messages, and says by its end whether it is CSV or TSV.
    pub fn from_reader(name: &Path, reader: impl Read + 'static) -> Result<Self, Error> {
        let Begun { start, mut reader } = unpack::begin(name, reader)?;
        if start.is_empty() {
            return Err(Error::invalid(name, "the file is empty").hint(
                "one JSON object a line is expected, e.g. {\"prompt\": …, \"completion\": …}",
            ));
        }
        match Kind::of(&start) {
            Kind::ArrowStream => return Ok(Self::of_arrow(ArrowRows::stream(name, reader)?)),
            Kind::Parquet | Kind::ArrowFile => return Self::from_bytes(name, bytes(reader, name)?),
            Kind::Text => {}
        }
        if let Some(kind) = foreign(&start) {
            return Err(
                Error::invalid(name, format!("this is {kind}, not JSON lines"))
                    .hint("give JSON lines, a JSON array, CSV, parquet or Arrow in UTF-8"),
            );
        }
        match unpack::extension(name).as_str() {
            "csv" => {
                let rows = table::read_csv(name, bytes(reader, name)?, b',')?;
                return Ok(Self::of_table(name, rows));
            }
            "tsv" => {
                let rows = table::read_csv(name, bytes(reader, name)?, b'\t')?;
                return Ok(Self::of_table(name, rows));
            }
            _ => {}
        }
        let start = reader.fill_buf().map_err(Error::io("read", name))?;
        let start = start.strip_prefix(BOM).unwrap_or(start);
        if start.trim_ascii_start().first() == Some(&b'[') {
            return Ok(Self::of_table(name, array(name, reader)?));
        }
        Ok(Self(Box::new(Lines {
            name: name.to_owned(),
            reader,
            line: 0,
            broken: false,
        })))
    }

    fn of_arrow(rows: ArrowRows) -> Self {
        Self(Box::new(rows))
    }

    fn of_table(name: &Path, rows: Vec<Value>) -> Self {
        let path = name.to_owned();
        Self(Box::new(rows.into_iter().enumerate().map(
            move |(row, value)| {
                Ok(RawRow {
                    path: path.clone(),
                    place: format!("row {}", row + 1),
                    value,
                })
            },
        )))
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";
const GZIP: &[u8] = b"\x1f\x8b";

/// What a file is that people mistake for JSON lines, by its first bytes.
fn foreign(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'P', b'K', 3, 4, ..] => Some("a zip file"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("a bzip2 file"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16 text"),
        _ => None,
    }
}

fn bytes(mut reader: impl Read, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| unpack::broken(path, error))?;
    Ok(bytes)
}

fn array(name: &Path, reader: impl Read) -> Result<Vec<Value>, Error> {
    let bytes = bytes(reader, name)?;
    let bytes = bytes.strip_prefix(BOM).unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .split(|byte| *byte == b'\n')
            .count();
        let what = Mistake::new("not UTF-8").hint("save the file as UTF-8");
        Error::mistake(name, &format!("line {line}"), what)
    })?;
    let value = numbers::parse(text).map_err(|fault| match fault {
        numbers::Fault::Json(error) => {
            let place = format!("line {}, column {}", error.line(), error.column());
            Error::mistake(name, &place, not_json(&error))
        }
        numbers::Fault::TooLarge(number) => Error::mistake(name, "in it", too_large(&number)),
    })?;
    match value {
        Value::Array(rows) => Ok(rows),
        _ => Err(Error::invalid(name, "not a JSON array")),
    }
}

fn too_large(number: &str) -> Mistake {
    Mistake::new(format!(
        "the number {number} is beyond 64 bits and would lose digits"
    ))
    .hint("write it as text, in quotes")
}

/// JSON lines: blank lines are skipped, CRLF and a byte order mark are taken.
struct Lines<R> {
    name: PathBuf,
    reader: R,
    line: usize,
    broken: bool,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<RawRow, Error>;

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
                    let message =
                        format!("line {}: longer than {} MiB", self.line, LONGEST_LINE >> 20);
                    self.broken = self.reader.skip_until(b'\n').is_err();
                    return Some(Err(Error::invalid(&self.name, message)));
                }
                Ok(_) => {}
            }
            let mut text = bytes.as_slice();
            if self.line == 1 {
                text = text.strip_prefix(BOM).unwrap_or(text);
            }
            let text = text.trim_ascii();
            if !text.is_empty() {
                return match self.parse(text) {
                    Ok(value) => Some(Ok(RawRow {
                        path: self.name.clone(),
                        place: format!("line {}", self.line),
                        value,
                    })),
                    Err(error) => Some(Err(error)),
                };
            }
        }
        None
    }
}

impl<R> Lines<R> {
    fn fail(&mut self, error: Error) -> Option<Result<RawRow, Error>> {
        self.broken = true;
        Some(Err(error))
    }

    fn parse(&self, text: &[u8]) -> Result<Value, Error> {
        let line = format!("line {}", self.line);
        let text = std::str::from_utf8(text).map_err(|error| {
            let byte = error.valid_up_to() + 1;
            let what = Mistake::new(format!("not UTF-8 (byte {byte} of the line)"));
            Error::mistake(&self.name, &line, what.hint("save the file as UTF-8"))
        })?;
        numbers::parse(text).map_err(|fault| match fault {
            numbers::Fault::Json(error) => {
                let place = format!("{line}, column {}", error.column());
                Error::mistake(&self.name, &place, not_a_line(text, &error))
            }
            numbers::Fault::TooLarge(number) => {
                Error::mistake(&self.name, &line, too_large(&number))
            }
        })
    }
}

/// serde_json's message without its own place.
fn not_json(error: &serde_json::Error) -> Mistake {
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
