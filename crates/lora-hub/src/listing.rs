//! The hub's list of a repository's files at one commit, read as what a stranger wrote.
use crate::name::{is_commit, is_inside};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// More files than this are no repository that we read.
const MOST: usize = 200_000;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its way inside the repository.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Its hash, by which the cache calls it.
    pub(crate) etag: String,
}

/// All files at a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Reads the answer to `/api/models/OWNER/NAME/revision/REVISION?blobs=true`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let begin = bytes.trim_ascii_start();
        if begin.starts_with(b"<") {
            return Err("a page, not a list of files".to_owned());
        }
        let answer: Answer = serde_json::from_slice(bytes).map_err(|error| {
            format!(
                "no list of files: JSON ends or differs in column {}",
                error.column()
            )
        })?;
        if answer.siblings.len() > MOST {
            return Err(format!("a list of {} files", answer.siblings.len()));
        }
        let files = answer.siblings.into_iter().map(entry);
        let listing = Self {
            commit: answer.sha,
            files: files.collect::<Result<_, _>>()?,
        };
        listing.check()?;
        Ok(listing)
    }

    /// Refuses what could lead out of the cache.
    fn check(&self) -> Result<(), String> {
        if !is_commit(&self.commit) {
            return Err(format!("a commit that is none: {}", shown(&self.commit)));
        }
        for file in &self.files {
            if !is_inside(&file.path) {
                return Err(format!(
                    "a file outside of the repository: {}",
                    shown(&file.path)
                ));
            }
            let is_hash = is_commit(&file.etag) || is_sha256(&file.etag);
            if !is_hash {
                return Err(format!(
                    "a hash that is none: {} of {}",
                    shown(&file.etag),
                    file.path
                ));
            }
        }
        Ok(())
    }

    /// A list that was kept; none if there is none, or none that can be believed.
    pub(crate) fn kept(path: &Path) -> Option<Self> {
        let listing: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        listing.check().is_ok().then_some(listing)
    }

    /// Keeps it. A list that can't be kept is asked for again.
    pub(crate) fn keep(&self, path: &Path) {
        let text = serde_json::to_string(self).unwrap_or_default();
        let partial = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
        let _ = std::fs::create_dir_all(path.parent().unwrap_or(Path::new("")))
            .and_then(|()| std::fs::write(&partial, text))
            .and_then(|()| std::fs::rename(&partial, path));
    }
}

fn entry(sibling: Sibling) -> Result<Entry, String> {
    let (bytes, etag) = match (sibling.lfs, sibling.size, sibling.blob) {
        (Some(lfs), _, _) => (lfs.size, lfs.sha256),
        (None, Some(size), Some(blob)) => (size, blob),
        _ => return Err(format!("no size and hash of {}", shown(&sibling.rfilename))),
    };
    Ok(Entry {
        path: sibling.rfilename,
        bytes,
        etag,
    })
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A stranger's text for people: short, and without what would move a cursor.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(80).collect();
    format!("{start:?}")
}
