//! Outputs that appear only when they are finished: written to `OUT.partial`, synced, renamed.
use crate::receipt::beside;
use crate::{Draft, Error, FILE_NAME, Receipt, hash, io};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// An output being written: `OUT.partial/` (or `OUT.partial` for a single file), renamed to `OUT` by [`Staged::commit`].
/// Dropping it uncommitted removes the partial output, unless [`Staged::keep_partial`] was called.
#[derive(Debug)]
pub struct Staged {
    out: PathBuf,
    partial: PathBuf,
    kind: Kind,
    force: bool,
    /// Folders above `out` that this made, the innermost first.
    made: Vec<PathBuf>,
    /// Nothing is left to remove on drop: committed, or kept for resuming.
    keep: bool,
    /// Held so that no second process writes the same output; the system releases it when this process ends.
    _lock: Option<File>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
}

impl Staged {
    /// Stages an output folder. Refuses an existing `out` without `force`; checks that the parent is writable.
    ///
    /// # Errors
    /// When `out` exists, when another process is writing it, or when its parent can't be written.
    pub fn folder(out: &Path, force: bool) -> Result<Self, Error> {
        let staged = Self::begin(out, force, Kind::Folder)?;
        clear(&staged.partial)?;
        Ok(staged)
    }

    /// Stages an output folder, keeping what an earlier, killed run left in `OUT.partial/` (for resuming).
    ///
    /// # Errors
    /// As [`Staged::folder`].
    pub fn resume_folder(out: &Path, force: bool) -> Result<Self, Error> {
        Self::begin(out, force, Kind::Folder)
    }

    /// Stages a single output file; its receipt will lie beside it as `FILE.receipt.json`.
    ///
    /// # Errors
    /// As [`Staged::folder`].
    pub fn file(out: &Path, force: bool) -> Result<Self, Error> {
        Self::begin(out, force, Kind::File)
    }

    /// Where to write now.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Leave the partial output in place if this is dropped uncommitted (checkpoints of an interrupted run).
    pub fn keep_partial(&mut self) {
        self.keep = true;
    }

    /// Hashes the outputs, completes and writes the receipt, fsyncs, renames. Returns the finished receipt.
    ///
    /// # Errors
    /// When the disk refuses; nothing is then changed at `OUT`, and an old output that was to be replaced is still there.
    pub fn commit(mut self, draft: Draft) -> Result<Receipt, Error> {
        let receipt = draft.finish(&self.out, &self.partial)?;
        let mut text = serde_json::to_string_pretty(&receipt).map_err(|e| {
            Error::invalid(format!(
                "failed to write the receipt of {}: {e}",
                self.out.display()
            ))
        })?;
        text.push('\n');
        refuse_existing(&self.out, self.force, self.kind)?;
        match self.kind {
            Kind::Folder => {
                write(&self.partial.join(FILE_NAME), &text)?;
                sync_tree(&self.partial)?;
                swap(&self.partial, &self.out)?;
            }
            Kind::File => {
                sync(&self.partial)?;
                let receipt = beside(&self.out, ".receipt.json");
                let staged = beside(&receipt, ".partial");
                write(&staged, &text)
                    .and_then(|()| sync(&staged))
                    .and_then(|()| fs::rename(&staged, &receipt).map_err(io("write", &receipt)))
                    .inspect_err(|_| _ = remove(&staged))?;
                swap(&self.partial, &self.out)?;
            }
        }
        self.keep = true;
        sync_folder(parent(&self.out))?;
        Ok(receipt)
    }

    fn begin(out: &Path, force: bool, kind: Kind) -> Result<Self, Error> {
        if out.file_name().is_none() {
            return Err(Error::invalid(format!(
                "{:?} can't be an output path",
                out.display().to_string()
            ))
            .hint("name the file or folder that is to be made"));
        }
        restore(out)?;
        refuse_existing(out, force, kind)?;
        let made: Vec<PathBuf> = parent(out)
            .ancestors()
            .filter(|p| is_missing(p))
            .map(Path::to_path_buf)
            .collect();
        let partial = beside(out, ".partial");
        let claimed = fs::create_dir_all(parent(out))
            .map_err(io("create the folder", parent(out)))
            .and_then(|()| claim(&partial, kind));
        let lock = claimed.inspect_err(|_| remove_empty(&made))?;
        Ok(Self {
            out: out.to_path_buf(),
            partial,
            kind,
            force,
            made,
            keep: false,
            _lock: lock,
        })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.keep {
            let _ = remove(&self.partial);
            remove_empty(&self.made);
        }
    }
}

/// An existing output is replaced only with `force`, and a folder only if a tool of ours wrote it.
fn refuse_existing(out: &Path, force: bool, kind: Kind) -> Result<(), Error> {
    let Ok(meta) = fs::symlink_metadata(out) else {
        return Ok(());
    };
    let shown = out.display();
    if !force {
        return Err(Error::invalid(format!("{shown} exists already"))
            .hint("pass --force to replace it, or choose another --out"));
    }
    let foreign = meta.is_dir() && !out.join(FILE_NAME).exists() && !is_empty(out);
    if foreign || (meta.is_dir() && kind == Kind::File) {
        return Err(Error::invalid(format!(
            "{shown} is a folder that no lora tool wrote, so --force does not replace it"
        ))
        .hint("choose another --out, or remove the folder yourself"));
    }
    Ok(())
}

/// Creates `OUT.partial` and takes its lock, so that two runs never write the same output.
fn claim(partial: &Path, kind: Kind) -> Result<Option<File>, Error> {
    if let Ok(meta) = fs::symlink_metadata(partial)
        && (meta.is_symlink() || meta.is_dir() != (kind == Kind::Folder))
    {
        remove(partial).map_err(io("remove", partial))?;
    }
    let opened = match kind {
        Kind::Folder => {
            match fs::create_dir(partial) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(io("create", partial)(e));
                }
                _ => {}
            }
            File::open(partial)
        }
        Kind::File => OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(partial),
    };
    let file = match (opened, kind) {
        (Ok(file), _) => file,
        (Err(_), Kind::Folder) => return Ok(None), // some systems can't open folders: no lock there
        (Err(e), Kind::File) => return Err(io("create", partial)(e)),
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            return Err(Error::invalid(format!(
                "another process is writing {} now",
                partial.display()
            ))
            .hint("wait for it, or choose another --out"));
        }
        Err(TryLockError::Error(_)) => return Ok(None), // a file system without locks
        Ok(()) => {}
    }
    if kind == Kind::File {
        file.set_len(0).map_err(io("write", partial))?;
    }
    Ok(Some(file))
}

/// Puts `partial` in the place of `out`; what was there goes away only after that.
fn swap(partial: &Path, out: &Path) -> Result<(), Error> {
    let replaced = beside(out, ".replaced.partial");
    let existed = fs::symlink_metadata(out).is_ok();
    if existed {
        fs::rename(out, &replaced).map_err(io("replace", out))?;
    }
    if let Err(e) = fs::rename(partial, out) {
        if existed {
            let _ = fs::rename(&replaced, out);
        }
        return Err(io("write", out)(e));
    }
    if existed {
        let _ = remove(&replaced);
    }
    Ok(())
}

/// Undoes a [`swap`] that a killed process left half done.
fn restore(out: &Path) -> Result<(), Error> {
    let replaced = beside(out, ".replaced.partial");
    if fs::symlink_metadata(&replaced).is_err() {
        return Ok(());
    }
    if fs::symlink_metadata(out).is_ok() {
        return remove(&replaced).map_err(io("remove", &replaced));
    }
    fs::rename(&replaced, out).map_err(io("restore", out))
}

/// Empties a folder without removing the folder itself, whose lock we hold.
fn clear(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        remove(&path).map_err(io("remove", &path))?;
    }
    Ok(())
}

/// Removes a file, a folder with all in it, or a link (never what it points to).
fn remove(path: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(io("write", path))
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io("sync", path))
}

/// Folders can't be synced on every system; where they can't, the rename alone has to do.
fn sync_folder(path: &Path) -> Result<(), Error> {
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn sync_tree(folder: &Path) -> Result<(), Error> {
    for file in hash::files(folder)? {
        sync(&folder.join(file))?;
    }
    sync(&folder.join(FILE_NAME))?;
    sync_folder(folder)
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// True for a path that could be made and is not there.
fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty()
        && fs::symlink_metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

/// Removes folders, innermost first, as long as nothing is in them.
fn remove_empty(folders: &[PathBuf]) {
    for folder in folders {
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
