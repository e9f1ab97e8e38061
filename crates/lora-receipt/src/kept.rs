//! Hashes of big files, kept from one run to the next under the user's cache. A note that can't be read or written, or that
//! is damaged, is no error: the file is read again.
use crate::digest::hash_bytes;
use crate::stamp::Stamp;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Files below this size are read quickly enough.
const WORTH_KEEPING: u64 = 1 << 20;
/// From so many notes on, those whose file is gone are removed.
const MANY: usize = 1000;

/// A folder with one note for each file.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    folder: PathBuf,
}

/// What is noted of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    stamp: Stamp,
    sha256: String,
    /// sha256 of the two above, so that a damaged note is not believed.
    check: String,
}

impl Note {
    fn new(stamp: &Stamp, sha256: &str) -> Self {
        let text = serde_json::to_string(&(stamp, sha256)).unwrap_or_default();
        Self {
            stamp: stamp.clone(),
            sha256: sha256.to_owned(),
            check: hash_bytes(text.as_bytes()),
        }
    }

    fn read(path: &Path) -> Option<Self> {
        let note: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let again = Self::new(&note.stamp, &note.sha256);
        (again.check == note.check).then_some(note)
    }
}

impl Kept {
    pub(crate) fn within(cache: &Path) -> Self {
        Self {
            folder: cache.join("hashes"),
        }
    }

    /// The hash of a file that has not changed since it was noted.
    pub(crate) fn find(&self, stamp: &Stamp) -> Option<String> {
        let note = Note::read(&self.place(stamp)?)?;
        (note.stamp == *stamp).then_some(note.sha256)
    }

    /// Notes the hash of a file.
    pub(crate) fn keep(&self, stamp: &Stamp, sha256: &str) {
        let Some(place) = self.place(stamp) else {
            return;
        };
        self.clear();
        let text = serde_json::to_string(&Note::new(stamp, sha256)).unwrap_or_default();
        let partial = self.folder.join(format!("{}.partial", std::process::id()));
        let _ = fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(&partial, text))
            .and_then(|()| fs::rename(&partial, place));
    }

    /// Where a file's note lies; none for small files.
    fn place(&self, stamp: &Stamp) -> Option<PathBuf> {
        let is_worth_it = stamp.bytes >= WORTH_KEEPING;
        let name = hash_bytes(stamp.path.to_string_lossy().as_bytes());
        is_worth_it.then(|| self.folder.join(&name[..32]))
    }

    /// Removes the notes of files that are gone, once there are many.
    fn clear(&self) {
        let Ok(notes) = fs::read_dir(&self.folder) else {
            return;
        };
        let notes: Vec<PathBuf> = notes.flatten().map(|entry| entry.path()).collect();
        if notes.len() < MANY {
            return;
        }
        for path in notes {
            if Note::read(&path).is_none_or(|note| !note.stamp.path.exists()) {
                let _ = fs::remove_file(path);
            }
        }
    }
}
