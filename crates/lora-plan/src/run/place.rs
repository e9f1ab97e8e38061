//! Where an output lies whose receipt tells of another place.
use std::path::{Path, PathBuf};

/// True if a path of a receipt means this folder, also if both were moved together.
pub(super) fn same_place(written: &Path, folder: &Path) -> bool {
    match (written.canonicalize(), folder.canonicalize()) {
        (Ok(written), Ok(folder)) => written == folder,
        _ => written.file_name() == folder.file_name(),
    }
}

/// Where an input of a run lies: where its receipt says, or beside the run if all was moved.
pub(super) fn beside(written: &Path, folder: &Path) -> Option<PathBuf> {
    let moved = || Some(folder.parent()?.join(written.file_name()?));
    Some(written.to_path_buf())
        .filter(|path| path.exists())
        .or_else(|| moved().filter(|path| path.exists()))
}
