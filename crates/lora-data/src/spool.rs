//! Bytes that wait for their use: in memory as long as they are few, then in a file without a name, which the system
//! removes however the process ends.
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use tempfile::SpooledTempFile;

/// Bytes that wait.
#[derive(Debug)]
pub struct Spool {
    file: SpooledTempFile,
    end: u64,
}

impl Spool {
    /// Nothing yet; what is more than `memory` bytes goes into a file in `folder`.
    pub fn new(memory: usize, folder: &Path) -> Self {
        Self {
            file: tempfile::spooled_tempfile_in(memory, folder),
            end: 0,
        }
    }

    /// Puts bytes behind the others, and returns where they begin.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let start = self.end;
        self.file.seek(SeekFrom::Start(start))?;
        self.file.write_all(bytes)?;
        self.end += bytes.len() as u64;
        Ok(start)
    }

    /// Fills `bytes` from where they begin.
    ///
    /// # Errors
    /// When the disk refuses, or when there are fewer.
    pub fn read(&mut self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(bytes)
    }
}
