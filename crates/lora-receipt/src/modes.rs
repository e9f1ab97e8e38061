//! Who may read an output: whoever the umask lets, although some libraries make files for their owner alone.
use crate::Error;
use std::path::Path;

/// Gives `written`, or all files in it, the mode of `example`, which was made as files usually are.
#[cfg(unix)]
pub(crate) fn open(written: &Path, example: &Path) -> Result<(), Error> {
    use crate::{hash, io};
    let mode = std::fs::metadata(example)
        .map_err(io("read", example))?
        .permissions();
    if !written.is_dir() {
        return std::fs::set_permissions(written, mode).map_err(io("write", written));
    }
    for file in hash::files(written)? {
        let path = written.join(file);
        let is_link = std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink());
        if !is_link {
            std::fs::set_permissions(&path, mode.clone()).map_err(io("write", &path))?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn open(_: &Path, _: &Path) -> Result<(), Error> {
    Ok(())
}
