//! Raw rows from files and from standard input: JSON lines, a JSON array, CSV, TSV, parquet and Arrow, each as JSON objects.
//! Every error names the file and the line or row.
use crate::Error;
use crate::array::Elements;
use crate::arrow_rows::ArrowRows;
use crate::lines::Lines;
use crate::raw_row::RawRow;
use crate::table::{self, Table};
use crate::text_row::BOM;
use crate::unpack::{self, Begun, Kind};
use crate::unread::{Unread, UnreadRow};
use crate::whole::Whole;
use std::fs::File;
use std::io::{Cursor, Read, Seek as _};
use std::path::Path;

/// Rows of one source, read as they are asked for. After a line that can't be read
/// come those below it.
pub struct RawRows {
    rows: Box<dyn Iterator<Item = Result<Unread, Error>>>,
    /// What stands between the values of a table, if its first line alone said so.
    found: Option<char>,
}

/// How a text is read whose name and bytes don't say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Format {
    /// What stands between the values of a table, for files that are not called JSON; for a table of any name the
    /// usual one of its kind if there is none, or the one that its first line has.
    pub separator: Option<u8>,
}

impl Format {
    /// The separator of a table, and whether its first line had to say it; None of what is no table.
    fn separator_of(self, name: &Path, start: &[u8]) -> Option<(u8, bool)> {
        let usual = match unpack::extension(name).as_str() {
            "csv" => b',',
            "tsv" => b'\t',
            "json" | "jsonl" | "ndjson" => return None,
            _ => return self.separator.map(|given| (given, false)),
        };
        let found = table::separator(start, usual);
        Some(match self.separator {
            Some(given) => (given, false),
            None => (found, found != usual),
        })
    }
}

impl std::fmt::Debug for RawRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawRows")
    }
}

impl Iterator for RawRows {
    type Item = Result<RawRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next().map(|row| row.and_then(Unread::read))
    }
}

impl RawRows {
    /// Opens a file by what it is: parquet and Arrow by its first bytes, `.csv` and `.tsv` by its name, anything else as
    /// JSON lines or, if it begins with `[`, as one JSON array; each may be packed with gzip, zstd or xz.
    pub fn open(path: &Path, format: Format) -> Result<Self, Error> {
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
            _ if unpack::extension(path) == "parquet" && !unpack::is_packed(&start) => {
                Ok(Self::of_arrow(ArrowRows::parquet(path, file)?))
            }
            Kind::ArrowFile => Ok(Self::of_arrow(ArrowRows::file(path, file)?)),
            Kind::ArrowStream | Kind::Text => Self::from_reader(path, file, format),
        }
    }

    /// Rows of a stream; `name` stands for it in messages, and says by its end whether it is CSV or TSV. Parquet and Arrow
    /// files are read from their end: those wait in memory or in a file without a name until all of them is there.
    pub fn from_reader(
        name: &Path,
        reader: impl Read + 'static,
        format: Format,
    ) -> Result<Self, Error> {
        let begun = unpack::begin(name, reader)?;
        let start = &begun.start;
        if start.is_empty() {
            return Err(Error::invalid(name, "the file is empty").hint(expected(name)));
        }
        match Kind::of(start) {
            Kind::ArrowStream => Ok(Self::of_arrow(ArrowRows::stream(name, begun.reader)?)),
            kind @ (Kind::Parquet | Kind::ArrowFile) => Self::of_whole(name, kind, begun),
            Kind::Text => Self::of_text(name, begun, format),
        }
    }

    fn of_whole(name: &Path, kind: Kind, begun: Begun) -> Result<Self, Error> {
        let rows = match (kind, Whole::read(name, begun)?) {
            (Kind::Parquet, Whole::Memory(bytes)) => ArrowRows::parquet(name, bytes)?,
            (Kind::Parquet, Whole::File(file)) => ArrowRows::parquet(name, file)?,
            (_, Whole::Memory(bytes)) => ArrowRows::file(name, Cursor::new(bytes))?,
            (_, Whole::File(file)) => ArrowRows::file(name, file)?,
        };
        Ok(Self::of_arrow(rows))
    }

    fn of_text(name: &Path, begun: Begun, format: Format) -> Result<Self, Error> {
        let Begun { start, reader, .. } = begun;
        if let Some(kind) = foreign(&start) {
            return Err(
                Error::invalid(name, format!("this is {kind}, not JSON lines"))
                    .hint("give JSON lines, a JSON array, CSV, parquet or Arrow in UTF-8"),
            );
        }
        if let Some((separator, is_found)) = format.separator_of(name, &start) {
            let table = Table::new(name, reader, separator)?;
            let mut rows = Self::new(table.map(|row| row.map(Unread::Row)));
            rows.found = is_found.then_some(char::from(separator));
            return Ok(rows);
        }
        let start = start.strip_prefix(BOM).unwrap_or(&start);
        if start.trim_ascii_start().first() == Some(&b'[') {
            let elements = Elements::new(name, reader)?;
            return Ok(Self::new(elements.map(|row| row.map(Unread::Text))));
        }
        let lines = Lines::new(name, reader);
        Ok(Self::new(lines.map(|row| row.map(Unread::Text))))
    }

    /// The next row as it is found: JSON is read by whoever gets it.
    pub fn next_unread(&mut self) -> Option<Result<UnreadRow, Error>> {
        self.rows.next().map(|row| row.map(UnreadRow::from))
    }

    /// What stands between the values of a table, if neither its name nor the caller said so: its first line did.
    pub fn found_separator(&self) -> Option<char> {
        self.found
    }

    fn new(rows: impl Iterator<Item = Result<Unread, Error>> + 'static) -> Self {
        Self {
            rows: Box::new(rows),
            found: None,
        }
    }

    fn of_arrow(rows: ArrowRows) -> Self {
        Self::new(rows.map(|row| row.map(Unread::Row)))
    }
}

/// What should stand in a file of this name.
fn expected(name: &Path) -> &'static str {
    match unpack::extension(name).as_str() {
        "csv" | "tsv" => {
            "a line with the names of the columns is expected, e.g. prompt and completion, then a row a line"
        }
        _ => "one JSON object a line is expected, e.g. {\"prompt\": …, \"completion\": …}",
    }
}

/// What a file is that people mistake for JSON lines, by its first bytes.
fn foreign(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'P', b'K', 3, 4, ..] => Some("a zip file"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("a bzip2 file"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16 text"),
        _ => None,
    }
}
