//! What a finished folder that is to be replaced holds: files that its receipt lists, which are ours, and others, which are
//! not and are kept.
use crate::mark::{self, is_receipt_of_its_folder};
use crate::receipt::beside;
use crate::{Error, FILE_NAME, io};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The entries of a folder, relative to it. Links are entries and are not followed.
#[derive(Debug, Default)]
struct Sorted {
    /// What the receipt lists, and receipts.
    ours: Vec<PathBuf>,
    foreign: Vec<PathBuf>,
    /// Folders, the innermost first.
    folders: Vec<PathBuf>,
}

/// True if the file has a receipt's form.
pub(crate) fn is_receipt(path: &Path) -> bool {
    mark::outputs(path).is_some()
}

/// True if a tool of ours wrote the folder: it has a receipt by its form.
pub(crate) fn is_finished_folder(folder: &Path) -> bool {
    is_receipt(&folder.join(FILE_NAME))
}

/// True if a tool of ours wrote the file: the receipt beside it names it.
pub(crate) fn is_finished_file(file: &Path) -> bool {
    let outputs = mark::outputs(&beside(file, ".receipt.json"));
    let name = file.file_name().map(Path::new);
    outputs.is_some_and(|outputs| outputs.iter().any(|output| Some(output.as_path()) == name))
}

/// Moves what is not ours out of a finished folder into `OUT.kept`; says where it lies then, if there was any.
pub(crate) fn keep_foreign(folder: &Path, out: &Path) -> Result<Option<PathBuf>, Error> {
    let mut kept = None;
    for relative in sort(folder)?.foreign {
        kept = Some(keep(&folder.join(&relative), out, &relative)?);
    }
    Ok(kept)
}

/// Removes a finished folder: the files of its receipt. What is not ours moves to `OUT.kept`.
pub(crate) fn retire(folder: &Path, out: &Path) -> Result<(), Error> {
    keep_foreign(folder, out)?;
    let mut sorted = sort(folder)?;
    // The receipt goes last: until then it tells whose the others are.
    sorted.ours.sort_by_key(|path| path == Path::new(FILE_NAME));
    for relative in &sorted.ours {
        let path = folder.join(relative);
        fs::remove_file(&path).map_err(io("remove", &path))?;
    }
    for relative in &sorted.folders {
        let _ = fs::remove_dir(folder.join(relative)); // one that is not empty holds what came just now
    }
    let _ = fs::remove_dir(folder);
    Ok(())
}

/// Removes what the receipt does not list: of an output that was complete but for its rename.
pub(crate) fn remove_unlisted(folder: &Path) -> Result<(), Error> {
    for relative in sort(folder)?.foreign {
        let path = folder.join(relative);
        fs::remove_file(&path).map_err(io("remove", &path))?;
    }
    Ok(())
}

/// Moves a file into the first of `OUT.kept`, `OUT.kept-2`, … that has room for it; gives that folder.
fn keep(path: &Path, out: &Path, relative: &Path) -> Result<PathBuf, Error> {
    let mut number = 1;
    loop {
        let folder = match number {
            1 => beside(out, ".kept"),
            n => beside(out, &format!(".kept-{n}")),
        };
        let to = folder.join(relative);
        if fs::symlink_metadata(&to).is_ok() {
            number += 1;
            continue;
        }
        let parent = to.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(io("create the folder", parent))?;
        fs::rename(path, &to).map_err(io("move", path))?;
        return Ok(folder);
    }
}

fn sort(folder: &Path) -> Result<Sorted, Error> {
    let listed = mark::outputs(&folder.join(FILE_NAME)).unwrap_or_default();
    let mut sorted = Sorted::default();
    walk(
        folder,
        Path::new(""),
        &listed.into_iter().collect(),
        &mut sorted,
    )?;
    Ok(sorted)
}

fn walk(
    root: &Path,
    relative: &Path,
    listed: &BTreeSet<PathBuf>,
    sorted: &mut Sorted,
) -> Result<(), Error> {
    let folder = root.join(relative);
    for entry in fs::read_dir(&folder).map_err(io("list", &folder))? {
        let entry = entry.map_err(io("list", &folder))?;
        let inner = relative.join(entry.file_name());
        let kind = entry.file_type().map_err(io("read", &entry.path()))?;
        if kind.is_dir() {
            walk(root, &inner, listed, sorted)?;
            sorted.folders.push(inner);
            continue;
        }
        // A link to a folder is ours if files are listed behind it.
        let behind = kind.is_symlink() && listed.iter().any(|path| path.starts_with(&inner));
        let is_receipt = inner == Path::new(FILE_NAME) || is_receipt_of_its_folder(&entry.path());
        match listed.contains(&inner) || behind || is_receipt {
            true => sorted.ours.push(inner),
            false => sorted.foreign.push(inner),
        }
    }
    Ok(())
}
