//! A file on its way: `HASH.incomplete` until it is whole, so that whatever ends the process leaves what can be continued
//! and nothing that passes for finished.
use crate::digest::Running;
use crate::error::{Result, io};
use crate::listing::Entry;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Bytes read at a time.
pub(crate) const CHUNK: usize = 1 << 18;

pub(crate) struct Partial<'e> {
    entry: &'e Entry,
    path: PathBuf,
    file: File,
    hash: Running,
    /// Bytes that are here.
    pub(crate) here: u64,
}

impl<'e> Partial<'e> {
    /// Goes on with what an earlier process has left.
    pub(crate) fn open(path: &Path, entry: &'e Entry) -> Result<Self> {
        let options = || {
            File::options()
                .read(true)
                .append(true)
                .create(true)
                .open(path)
        };
        let mut file = options().map_err(io("write", path))?;
        let mut hash = Running::like(&entry.etag, entry.bytes);
        let mut here = 0;
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = file.read(&mut chunk).map_err(io("read", path))?;
            if count == 0 {
                break;
            }
            hash.take(&chunk[..count]);
            here += count as u64;
        }
        let mut partial = Self {
            entry,
            path: path.to_path_buf(),
            file,
            hash,
            here,
        };
        if here > entry.bytes {
            partial.empty()?;
        }
        Ok(partial)
    }

    /// Begins anew.
    pub(crate) fn empty(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(io("write", &self.path))?;
        self.hash = Running::like(&self.entry.etag, self.entry.bytes);
        self.here = 0;
        Ok(())
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(io("write", &self.path))?;
        self.hash.take(bytes);
        self.here += bytes.len() as u64;
        Ok(())
    }

    /// True if all bytes are here.
    pub(crate) fn is_whole(&self) -> bool {
        self.here == self.entry.bytes
    }

    /// Gives it its name, if it has its hash; else removes it, and gives the hash that it has.
    pub(crate) fn finish(self, blob: &Path) -> Result<Option<String>> {
        let found = self.hash.hex();
        if found != self.entry.etag {
            fs::remove_file(&self.path).map_err(io("remove", &self.path))?;
            return Ok(Some(found));
        }
        self.file.sync_all().map_err(io("write", &self.path))?;
        fs::rename(&self.path, blob).map_err(io("write", blob))?;
        Ok(None)
    }
}
