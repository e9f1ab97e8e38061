//! Streams that are needed whole, because what is read first stands at their end.
use crate::Error;
use crate::unpack::{self, Begun};
use bytes::Bytes;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

/// Bytes that are held in memory; more go into a file.
const IN_MEMORY: u64 = 64 << 20;

/// Bytes that a packed file may have. Parquet and Arrow files pack their own columns, so that one which was packed again
/// and has more than this is a bomb.
const UNPACKED: u64 = 256 << 20;

/// All of a stream.
pub(crate) enum Whole {
    Memory(Bytes),
    /// One without a name, which the system removes however the process ends.
    File(File),
}

impl Whole {
    pub(crate) fn read(name: &Path, begun: Begun) -> Result<Self, Error> {
        let broken = |error| unpack::broken(name, error);
        let mut reader = begun.reader;
        let mut bytes = Vec::new();
        (&mut reader)
            .take(IN_MEMORY)
            .read_to_end(&mut bytes)
            .map_err(broken)?;
        if (bytes.len() as u64) < IN_MEMORY {
            return Ok(Self::Memory(bytes.into()));
        }
        let left = match begun.is_packed {
            true => UNPACKED - IN_MEMORY,
            false => u64::MAX,
        };
        let mut file = tempfile::tempfile().map_err(broken)?;
        file.write_all(&bytes).map_err(broken)?;
        let copied = std::io::copy(&mut reader.take(left), &mut file).map_err(broken)?;
        if copied == left {
            let what = format!("unpacked it has more than {} MiB", UNPACKED >> 20);
            return Err(Error::invalid(name, what).hint("unpack it first, and name what comes out"));
        }
        file.rewind().map_err(broken)?;
        Ok(Self::File(file))
    }
}
