//! What tells that a file has not changed since it was read.
use crate::{Error, io};
use serde::{Deserialize, Serialize};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file that changed so short a time ago may change again without its times telling: where the file system counts whole
/// seconds, and where it counts less than thousandths.
const SETTLED: [Duration; 2] = [Duration::from_secs(2), Duration::from_millis(50)];

/// What tells that a file is as it was: all that changes when somebody writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Canonical.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Since the epoch: the content's last change.
    modified: Duration,
    /// Since the epoch: the last change of content or of what the file system says of it. Zero where it says nothing.
    changed: Duration,
    /// Device and number of the file, where the system has them.
    place: (u64, u64),
}

impl Stamp {
    /// None if the file system keeps no times, or if the file has changed just now.
    pub(crate) fn of(path: &Path, meta: &Metadata) -> Result<Option<Self>, Error> {
        let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        let Some(modified) = meta.modified().ok().and_then(since_epoch) else {
            return Ok(None);
        };
        let (changed, place) = of_the_system(meta);
        let now = since_epoch(SystemTime::now()).unwrap_or_default();
        let is_fine = modified.subsec_nanos() % 1_000_000 != 0;
        let is_settled = modified.max(changed) + SETTLED[usize::from(is_fine)] < now;
        let path = canonical(path)?;
        Ok(is_settled.then_some(Self {
            path,
            bytes: meta.len(),
            modified,
            changed,
            place,
        }))
    }
}

#[cfg(unix)]
fn of_the_system(meta: &Metadata) -> (Duration, (u64, u64)) {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = u64::try_from(meta.ctime()).unwrap_or(0);
    let nanoseconds = u32::try_from(meta.ctime_nsec()).unwrap_or(0);
    (
        Duration::new(seconds, nanoseconds),
        (meta.dev(), meta.ino()),
    )
}

#[cfg(not(unix))]
fn of_the_system(_: &Metadata) -> (Duration, (u64, u64)) {
    (Duration::ZERO, (0, 0))
}

pub(crate) fn canonical(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path).map_err(io("read", path))
}
