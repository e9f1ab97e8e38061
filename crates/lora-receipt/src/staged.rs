//! Outputs that appear only when they are finished: written to `OUT.partial`, synced, renamed.
use crate::receipt::beside;
use crate::remains::{is_finished_file, is_finished_folder, is_receipt, keep_foreign};
use crate::unfinished::{
    is_ours, mark, mark_complete, mark_within, not_ours, partial_path, real, remove, unmark,
    unmark_within,
};
use crate::{Draft, Error, FILE_NAME, Receipt, hash, io, modes, refuse_overlap, replace};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// An output being written: `OUT.partial/` (or `OUT.partial` for a single file), renamed to `OUT` by [`Staged::commit`].
/// Dropping it uncommitted removes the partial output, unless [`Staged::keep_partial`] was called.
#[derive(Debug)]
pub struct Staged {
    /// As the user named it.
    given: PathBuf,
    /// What that leads to.
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
        if !self.keep && self.kind == Kind::Folder {
            let _ = mark_within(&self.partial); // the mark beside it is enough where it stays
        }
        self.keep = true;
    }

    /// Hashes the outputs, completes and writes the receipt, fsyncs, renames. Returns the finished receipt.
    ///
    /// # Errors
    /// When the disk refuses; nothing is then changed at `OUT`, and an old output that was to be replaced is still there.
    pub fn commit(self, draft: Draft) -> Result<Receipt, Error> {
        self.commit_without(draft, &[])
    }

    /// As [`Staged::commit`], without some files of the staged folder, which go away when the output is safe.
    ///
    /// # Errors
    /// As [`Staged::commit`].
    pub fn commit_without(mut self, draft: Draft, without: &[PathBuf]) -> Result<Receipt, Error> {
        for input in &draft.inputs {
            refuse_overlap(&self.given, &input.path)?;
        }
        refuse_existing(&self.out, self.force, self.kind)?;
        unmark_within(&self.partial);
        let is_a_line_s = draft.artefact == crate::Artefact::Files;
        let mut receipt = draft.finish(&self.given, &self.partial, without)?;
        let text = receipt.text()?;
        match self.kind {
            Kind::Folder => {
                write(&self.partial.join(FILE_NAME), &text)?;
                if !is_a_line_s {
                    modes::open(&self.partial, &self.partial.join(FILE_NAME))?;
                }
                sync_tree(&self.partial)?;
                if is_finished_folder(&self.out) {
                    receipt.kept_aside = keep_foreign(&self.out, &self.out)?;
                }
                mark_complete(&self.partial, &self.out, &text)?;
                for path in without {
                    let path = self.partial.join(path);
                    if fs::symlink_metadata(&path).is_ok() {
                        remove(&path).map_err(io("remove", &path))?;
                    }
                }
                replace::folder(&self.partial, &self.out)?;
            }
            Kind::File => {
                let staged = beside(&beside(&self.out, ".receipt.json"), ".partial");
                write(&staged, &text)
                    .and_then(|()| modes::open(&self.partial, &staged))
                    .and_then(|()| sync(&self.partial))
                    .and_then(|()| sync(&staged))
                    .and_then(|()| replace::file(&self.partial, &self.out, &staged))
                    .inspect_err(|_| _ = remove(&staged))?;
            }
        }
        self.keep = true;
        sync_folder(parent(&self.out))?;
        Ok(receipt)
    }

    fn begin(given: &Path, force: bool, kind: Kind) -> Result<Self, Error> {
        if given.file_name().is_none() {
            return Err(Error::invalid(format!(
                "{:?} can't be an output path",
                given.display().to_string()
            ))
            .hint("name the file or folder that is to be made"));
        }
        let out = real(given);
        refuse_link(&out)?;
        let partial = partial_path(given);
        recover(given)?;
        refuse_existing(&out, force, kind)?;
        let made: Vec<PathBuf> = parent(&out)
            .ancestors()
            .filter(|p| is_missing(p))
            .map(Path::to_path_buf)
            .collect();
        let claimed = fs::create_dir_all(parent(&out))
            .map_err(io("create the folder", parent(&out)))
            .and_then(|()| claim(&partial, kind));
        let lock = claimed.inspect_err(|_| remove_empty(&made))?;
        Ok(Self {
            given: given.to_path_buf(),
            out,
            partial,
            kind,
            force,
            made,
            keep: false,
            _lock: lock,
        })
    }
}

/// Finishes or undoes what a killed process has left half done at `out`: an output that was complete but for its rename
/// comes into its place, a replaced one goes away.
///
/// # Errors
/// When another process is writing there now, or when the system refuses.
pub fn recover(out: &Path) -> Result<(), Error> {
    let partial = partial_path(out);
    let _lock = match File::open(&partial) {
        Ok(file) => lock(&partial, file)?,
        Err(_) => None,
    };
    replace::restore(&real(out))
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.keep {
            let _ = remove(&self.partial);
            unmark(&self.partial);
            remove_empty(&self.made);
        }
    }
}

/// An existing output is replaced only with `force`, and only if a tool of ours wrote it.
fn refuse_existing(out: &Path, force: bool, kind: Kind) -> Result<(), Error> {
    let receipt = beside(out, ".receipt.json");
    if kind == Kind::File && fs::symlink_metadata(&receipt).is_ok() && !is_receipt(&receipt) {
        return Err(not_ours(&receipt));
    }
    let Ok(meta) = fs::symlink_metadata(out) else {
        return Ok(());
    };
    let shown = out.display();
    let is_ours = match (meta.is_dir(), kind) {
        (true, Kind::Folder) => is_finished_folder(out) || is_empty(out),
        (false, Kind::File) => is_finished_file(out),
        _ => false,
    };
    if is_ours && force {
        return Ok(());
    }
    if is_ours {
        return Err(Error::invalid(format!("{shown} exists already"))
            .hint("pass --force to replace it, or choose another --out"));
    }
    let what = match meta.is_dir() {
        true => "folder",
        false => "file",
    };
    let (exists, does) = match force {
        true => ("", "does"),
        false => (" exists already, and", "would"),
    };
    let error = format!(
        "{shown}{exists} is a {what} that no lora tool wrote, so --force {does} not replace it"
    );
    Err(Error::invalid(error).hint(format!(
        "choose another --out, or move the {what} away yourself"
    )))
}

/// A link that leads nowhere is somebody's mistake.
fn refuse_link(out: &Path) -> Result<(), Error> {
    match fs::read_link(out) {
        Err(_) => Ok(()),
        Ok(target) => Err(Error::invalid(format!(
            "{} is a link to {}, where nothing is",
            out.display(),
            target.display()
        ))
        .hint("choose another --out, or remove the link")),
    }
}

/// Creates `OUT.partial`, takes its lock, so that two runs never write the same output, and marks it as ours. What lies
/// there already is taken only if it has our mark, or nothing in it.
fn claim(partial: &Path, kind: Kind) -> Result<Option<File>, Error> {
    if let Ok(meta) = fs::symlink_metadata(partial)
        && (meta.is_symlink() || meta.is_dir() != (kind == Kind::Folder))
    {
        if !is_ours(partial) {
            return Err(not_ours(partial));
        }
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
    let locked = match (opened, kind) {
        (Ok(file), _) => lock(partial, file)?,
        (Err(_), Kind::Folder) => None, // some systems can't open folders: no lock there
        (Err(e), Kind::File) => return Err(io("create", partial)(e)),
    };
    let is_empty = match kind {
        Kind::Folder => is_empty(partial),
        Kind::File => fs::metadata(partial).is_ok_and(|meta| meta.len() == 0),
    };
    if !is_empty && !is_ours(partial) {
        return Err(not_ours(partial));
    }
    if kind == Kind::File {
        let file = OpenOptions::new().write(true).open(partial);
        file.and_then(|file| file.set_len(0))
            .map_err(io("write", partial))?;
    }
    if let Err(error) = mark(partial) {
        // Without a mark nobody would know whose it is; it is empty still.
        let _ = remove(partial);
        return Err(error);
    }
    Ok(locked)
}

/// Takes the lock of an unfinished output; none on a file system without locks.
fn lock(partial: &Path, file: File) -> Result<Option<File>, Error> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::invalid(format!(
            "another process is writing {} now",
            partial.display()
        ))
        .hint("wait for it, or choose another --out")),
        Err(TryLockError::Error(_)) => Ok(None),
        Ok(()) => Ok(Some(file)),
    }
}

/// Empties a folder without removing the folder itself, whose lock we hold.
fn clear(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        remove(&path).map_err(io("remove", &path))?;
    }
    Ok(())
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
