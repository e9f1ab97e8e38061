//! What raw files are by their first bytes, and the streams behind gzip, zstd and xz.
use crate::Error;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

/// Bytes that are read to tell what a file is: the first line of a table is among them.
const START: usize = 64 << 10;

/// What holds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Parquet,
    /// Arrow's file format (Feather 2).
    ArrowFile,
    /// Arrow's stream format, in which Hugging Face's datasets lie in their folders.
    ArrowStream,
    /// Anything else: JSON lines, an array, a table in text.
    Text,
}

impl Kind {
    /// By a file's first bytes.
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [b'P', b'A', b'R', b'1', ..] => Self::Parquet,
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Self::ArrowFile,
            [0xff, 0xff, 0xff, 0xff, ..] => Self::ArrowStream,
            _ => Self::Text,
        }
    }
}

/// What a file was packed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
    Xz,
}

impl Packing {
    /// By a file's first bytes; at least six of them, if it has so many.
    fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }
}

/// True for what begins as gzip, zstd or xz do.
pub(crate) fn is_packed(start: &[u8]) -> bool {
    Packing::of(start).is_some()
}

/// A stream of which the first bytes are known, and which goes on as if they had not been read.
pub(crate) struct Begun {
    pub(crate) start: Vec<u8>,
    pub(crate) reader: Box<dyn BufRead>,
    /// It came out of gzip, zstd or xz.
    pub(crate) is_packed: bool,
}

/// Takes gzip, zstd and xz off a stream, whatever it is called, and looks at its first bytes.
pub(crate) fn begin(name: &Path, reader: impl Read + 'static) -> Result<Begun, Error> {
    let packed = peek(name, Box::new(reader))?;
    let unpacked: Box<dyn Read> = match Packing::of(&packed.start) {
        None => return Ok(packed),
        // Files that were joined are one, as gzip itself reads them.
        Some(Packing::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(packed.reader)),
        Some(Packing::Zstd) => {
            let decoder = zstd::stream::read::Decoder::with_buffer(packed.reader);
            Box::new(decoder.map_err(Error::io("read", name))?)
        }
        Some(Packing::Xz) => Box::new(lzma_rust2::XzReader::new(packed.reader, true)),
    };
    let unpacked = peek(name, unpacked)?;
    Ok(Begun {
        is_packed: true,
        ..unpacked
    })
}

fn peek(name: &Path, mut reader: Box<dyn Read>) -> Result<Begun, Error> {
    let mut start = Vec::new();
    (&mut reader)
        .take(START as u64)
        .read_to_end(&mut start)
        .map_err(|error| broken(name, error))?;
    let reader = Cursor::new(start.clone()).chain(reader);
    let reader = Box::new(BufReader::with_capacity(1 << 20, reader));
    Ok(Begun {
        start,
        reader,
        is_packed: false,
    })
}

/// A stream that can't be read on: cut off, damaged, or a fault of the system.
pub(crate) fn broken(name: &Path, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) => Error::Io {
            action: "read",
            path: name.to_owned(),
            source: error,
        },
        None => Error::invalid(name, format!("it can't be unpacked: {error}"))
            .hint(crate::error::CUT_OFF),
    }
}

/// The last part of a file's name that says what its rows are: `csv` of `rows.csv.gz`.
pub(crate) fn extension(path: &Path) -> String {
    let part = |path: &Path| {
        let text = path.extension().and_then(|text| text.to_str());
        text.unwrap_or_default().to_ascii_lowercase()
    };
    match part(path).as_str() {
        "gz" | "zst" | "zstd" | "xz" => part(&path.with_extension("")),
        other => other.to_owned(),
    }
}
