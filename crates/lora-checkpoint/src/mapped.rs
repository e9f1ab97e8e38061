//! A file mapped into memory, read only.
use crate::error::{Result, invalid, io};
use crate::lost;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A mapped file. Its bytes are shared with everyone who maps it: nothing is copied until a page is touched.
#[derive(Debug)]
pub(crate) struct Mapped {
    path: PathBuf,
    map: memmap2::Mmap,
    file: File,
    /// When it was mapped.
    size_and_time: (u64, Option<SystemTime>),
}

impl Mapped {
    /// Maps a file; an empty one is refused.
    #[allow(unsafe_code)] // memmap2 has no safe way to map a file
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(io("open", path))?;
        let metadata = file.metadata().map_err(io("read", path))?;
        if !metadata.is_file() {
            return Err(invalid(path, "not a file"));
        }
        if metadata.len() == 0 {
            return Err(
                invalid(path, "the file is empty").hint("was the download or the copy cut off?")
            );
        }
        // SAFETY: the map is private and read only, and its bytes are only ever read as plain numbers, for which
        // every bit pattern is valid. Another process that truncates the file while it is mapped ends this process
        // with SIGBUS, which says why (`lost`); that is the accepted price of reading weights where they lie.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io("map", path))?;
        lost::watch(&map, path);
        Ok(Self {
            path: path.to_path_buf(),
            map,
            size_and_time: size_and_time(&metadata),
            file,
        })
    }

    /// Which file this is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a file that somebody has written into since it was mapped: what was read of it is of no one state. (A file
    /// that was replaced by another of its name is still mapped as it was.)
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let metadata = self.file.metadata().map_err(io("read", &self.path))?;
        match size_and_time(&metadata) == self.size_and_time {
            true => Ok(()),
            false => Err(invalid(&self.path, "was written to while it was read")
                .hint("start again when nothing writes to it")),
        }
    }

    /// All bytes of the file; the first lies on a page boundary.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }
}

fn size_and_time(metadata: &Metadata) -> (u64, Option<SystemTime>) {
    (metadata.len(), metadata.modified().ok())
}

impl Drop for Mapped {
    fn drop(&mut self) {
        lost::forget(&self.map);
    }
}
