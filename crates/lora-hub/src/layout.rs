//! The cache as huggingface_hub lays it out: blobs by their hash, snapshots of links by their commit, refs by their name.
use crate::error::{Result, io};
use crate::name::{Kind, Name, is_commit};
use crate::settings::Settings;
use std::fs;
use std::path::{Path, PathBuf};

/// One repository's folders in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: PathBuf,
    locks: PathBuf,
    /// Where the lists of its files are kept.
    lists: Option<PathBuf>,
}

impl Place {
    pub(crate) fn of(settings: &Settings, kind: Kind, name: &Name) -> Self {
        let folder = format!("{}--{}--{}", kind.plural(), name.owner, name.name);
        Self {
            root: settings.cache.join(&folder),
            locks: settings.cache.join(".locks").join(&folder),
            lists: settings.lists.as_ref().map(|lists| lists.join(&folder)),
        }
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Where a blob stands as long as it is not whole.
    pub(crate) fn incomplete(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    pub(crate) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    pub(crate) fn list(&self, commit: &str) -> Option<PathBuf> {
        Some(self.lists.as_ref()?.join(format!("{commit}.json")))
    }

    /// The commit that a branch or tag was at when it was last asked for.
    pub(crate) fn known(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes the commit of a branch or tag.
    pub(crate) fn note(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) || self.known(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        make_folder_of(&path)?;
        let partial = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
        fs::write(&partial, commit).map_err(io("write", &partial))?;
        fs::rename(&partial, &path).map_err(io("write", &path))
    }

    /// True if a snapshot has this file, whole.
    pub(crate) fn has(&self, commit: &str, file: &str, bytes: u64) -> bool {
        let there = fs::metadata(self.snapshot(commit).join(file));
        there.is_ok_and(|about| about.is_file() && about.len() == bytes)
    }

    /// Puts a blob into a snapshot.
    pub(crate) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let path = self.snapshot(commit).join(file);
        make_folder_of(&path)?;
        let partial = self
            .snapshot(commit)
            .join(format!(".{etag}.{}", std::process::id()));
        let _ = fs::remove_file(&partial);
        self.link_at(&partial, &path, file, etag)?;
        fs::rename(&partial, &path).map_err(io("write", &path))
    }

    #[cfg(unix)]
    fn link_at(&self, partial: &Path, path: &Path, file: &str, etag: &str) -> Result<()> {
        let up = "../".repeat(2 + file.matches('/').count());
        std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), partial).map_err(io("link", path))
    }

    #[cfg(not(unix))]
    fn link_at(&self, partial: &Path, path: &Path, _: &str, etag: &str) -> Result<()> {
        let blob = self.blob(etag);
        let linked = fs::hard_link(&blob, partial).or_else(|_| fs::copy(&blob, partial).map(drop));
        linked.map_err(io("link", path))
    }

    /// The files that a snapshot has, by their way in it.
    pub(crate) fn files(&self, commit: &str) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        walk(&self.snapshot(commit), "", 0, &mut found);
        found.sort();
        found
    }
}

/// Folders of a snapshot deeper than this are not looked into.
const DEEPEST: usize = 16;

fn walk(folder: &Path, before: &str, depth: usize, found: &mut Vec<(String, u64)>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let (Ok(name), path) = (entry.file_name().into_string(), entry.path()) else {
            continue;
        };
        // A link whose blob is gone is no file.
        let Ok(about) = fs::metadata(&path) else {
            continue;
        };
        let way = format!("{before}{name}");
        if about.is_file() {
            found.push((way, about.len()));
        } else if depth < DEEPEST {
            walk(&path, &format!("{way}/"), depth + 1, found);
        }
    }
}

pub(crate) fn make_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(io("create", folder))
}
