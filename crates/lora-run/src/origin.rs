//! Which pipeline a folder of steps belongs to: two pipelines of one name in two folders must not share it.
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result};
use std::path::{Component, Path, PathBuf};

/// Its name in the folder of steps.
const FILE_NAME: &str = ".pipeline";

/// Refuses a folder that holds the steps of another pipeline that is still there; else notes whose it is.
pub(crate) fn check(folder: &Path, pipeline: &Path) -> Result<()> {
    let note = folder.join(FILE_NAME);
    let failed = || format!("failed to write {}", note.display());
    let folder = folder.canonicalize().foreign().context(failed)?;
    let ours = way(&folder, &pipeline.canonicalize().foreign().context(failed)?);
    let before = std::fs::read_to_string(&note).unwrap_or_default();
    let theirs = Path::new(before.trim_end());
    if theirs.as_os_str().is_empty() || !folder.join(theirs).is_file() || theirs == ours {
        return std::fs::write(&note, format!("{}\n", ours.display()))
            .foreign()
            .context(failed);
    }
    let shown = folder.join(theirs);
    let shown = shown.canonicalize().unwrap_or(shown);
    let error = Error::new(format!(
        "{} holds the steps of another pipeline of that name, {}",
        folder.display(),
        shown.display()
    ));
    Err(error.hint("give one of the two another name, or a folder of its own with --work"))
}

/// The way from a folder to a file, so that both can be moved together. Both paths are whole.
fn way(folder: &Path, file: &Path) -> PathBuf {
    let from: Vec<Component<'_>> = folder.components().collect();
    let to: Vec<Component<'_>> = file.components().collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    up.chain(to[shared..].iter().copied()).collect()
}
