//! Raw rows from files and from standard input: JSON lines, a JSON array, CSV, TSV, parquet and Arrow, each as JSON objects.
//! Every error names the file and the line or row.
use crate::arrow_rows::ArrowRows;
use crate::error::Mistake;
use crate::lines::{BOM, Lines, not_json, too_large};
use crate::raw_row::RawRow;
use crate::unpack::{self, Begun, Kind};
use crate::unread::{Unread, UnreadRow};
use crate::{Error, numbers, table};
use bytes::Bytes;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, Cursor, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;

/// Rows of one source, read as they are asked for (JSON lines) or at once (the others). After a line that can't be read
/// come those below it.
pub struct RawRows(Box<dyn Iterator<Item = Result<Unread, Error>>>);

impl std::fmt::Debug for RawRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawRows")
    }
}

impl Iterator for RawRows {
    type Item = Result<RawRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|row| row.and_then(Unread::read))
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
        let lines = Lines::new(name, reader);
        Ok(Self(Box::new(lines.map(|line| line.map(Unread::Line)))))
    }

    /// The rows as they are found: lines of JSON are read by whoever gets them.
    pub fn unread(self) -> impl Iterator<Item = Result<UnreadRow, Error>> {
        self.0.map(|row| row.map(UnreadRow::from))
    }

    fn of_arrow(rows: ArrowRows) -> Self {
        Self(Box::new(rows.map(|row| row.map(Unread::Row))))
    }

    fn of_table(name: &Path, rows: Vec<Value>) -> Self {
        let path: Arc<Path> = name.into();
        Self(Box::new(rows.into_iter().enumerate().map(
            move |(row, value)| {
                Ok(Unread::Row(RawRow {
                    path: path.clone(),
                    place: format!("row {}", row + 1),
                    value,
                }))
            },
        )))
    }
}

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
