//! Where the checkpoints of a run lie in its output folder, and what of them stays.
use crate::error::{Result, failed};
use crate::trainable::Trainable;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the state of a run lies in its output folder.
pub fn state_file(out: &Path) -> PathBuf {
    out.join("checkpoints").join("state.safetensors")
}

/// Where the state of the checkpoint before lies.
pub(super) fn state_file_before(file: &Path) -> PathBuf {
    file.with_file_name("state.before.safetensors")
}

/// True if a run has left something to go on from.
pub fn has_checkpoint(out: &Path) -> bool {
    let file = state_file(out);
    file.exists() || state_file_before(&file).exists()
}

/// Where a run writes its checkpoints, and what tells it from other runs.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    /// The output folder: `checkpoints/last`, `checkpoints/best` and the state file come to lie in it.
    pub folder: PathBuf,
    /// What the result depends on (settings, hashes of the inputs): a run is continued only with the same.
    pub fingerprint: serde_json::Value,
}

impl Checkpoints {
    /// The state file.
    pub fn state_file(&self) -> PathBuf {
        state_file(&self.folder)
    }
}

/// Writes a model as folder `checkpoints/NAME`, complete or not at all.
pub(crate) fn save_model<M: Trainable + ?Sized>(
    out: &Path,
    name: &str,
    model: &M,
    params: &[f32],
) -> Result<()> {
    let folder = out.join("checkpoints").join(name);
    let partial = out.join("checkpoints").join(format!("{name}.new"));
    remove(&partial)?;
    fs::create_dir_all(&partial).map_err(failed("create", &partial))?;
    model
        .save(params, &partial)
        .inspect_err(|_| _ = remove(&partial))?;
    remove(&folder)?;
    fs::rename(&partial, &folder).map_err(failed("write", &folder))
}

/// What a finished run no longer needs, within its folder: the best model, which the output itself then holds, and the state.
/// It goes away when the output is safe, so that a run that fails at its very end can still be continued.
pub fn needed_to_resume() -> Vec<PathBuf> {
    let folder = PathBuf::from("checkpoints");
    let state = folder.join("state.safetensors");
    vec![folder.join("best"), state_file_before(&state), state]
}

/// Removes what a killed run has left in its folder beside checkpoints: files that were being written.
///
/// # Errors
/// If the operating system refuses.
pub fn tidy(out: &Path) -> Result<()> {
    let folder = out.join("checkpoints");
    let state = state_file(out);
    let models = [folder.join("best"), folder.join("last")];
    let kept = [&state, &state_file_before(&state), &models[0], &models[1]];
    for entry in fs::read_dir(&folder).map_err(failed("list", &folder))? {
        let path = entry.map_err(failed("list", &folder))?.path();
        if !kept.contains(&&path) {
            remove(&path)?;
        }
    }
    for entry in fs::read_dir(out).map_err(failed("list", out))? {
        let path = entry.map_err(failed("list", out))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(".tmp") {
            remove(&path)?; // safetensors writes into one of these first
        }
    }
    Ok(())
}

/// Removes a file or folder that may not be there.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path)(e)),
        _ => Ok(()),
    }
}
