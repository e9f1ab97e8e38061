//! What an interrupted run continues from: one file with parameters, moments and progress, replaced atomically, and
//! beside it the best and the last model as folders that any tool can read.
//!
//! Order, dropout and initialisation come from a counter-based generator, so no generator state is saved.
use crate::error::{Error, Result, failed};
use crate::state::State;
use crate::trainable::Trainable;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Format of the state file.
const VERSION: u32 = 1;
/// Its metadata key.
const KEY: &str = "lora-train";

/// A whole checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Figures.
    pub state: State,
    /// Parameters.
    pub params: Vec<f32>,
    /// AdamW's first moments.
    pub m: Vec<f32>,
    /// AdamW's second moments.
    pub v: Vec<f32>,
    /// Parameters of the best evaluation.
    pub best: Option<Vec<f32>>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    /// What the result depends on; a run is continued only with the same.
    fingerprint: serde_json::Value,
    state: State,
}

/// Where the state of a run lies in its output folder.
pub fn state_file(out: &Path) -> PathBuf {
    out.join("checkpoints").join("state.safetensors")
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

/// Writes the state file; the former one stays until the new one is complete.
///
/// # Errors
/// If the operating system refuses.
pub fn write(
    file: &Path,
    fingerprint: &serde_json::Value,
    state: &State,
    vectors: &[(&str, &[f32])],
) -> Result<()> {
    let header = Header {
        version: VERSION,
        fingerprint: fingerprint.clone(),
        state: state.clone(),
    };
    let failed_to_write = |what: String| Error::Checkpoint {
        path: file.to_path_buf(),
        what,
    };
    let header = serde_json::to_string(&header).map_err(|e| failed_to_write(e.to_string()))?;
    let metadata = HashMap::from([(KEY.to_owned(), header)]);
    let mut views = Vec::new();
    for (name, values) in vectors {
        let view = TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values));
        views.push((*name, view.map_err(|e| failed_to_write(e.to_string()))?));
    }
    let partial = file.with_extension("new");
    serialize(views, metadata, &partial)
        .and_then(|()| File::open(&partial)?.sync_all())
        .and_then(|()| fs::rename(&partial, file))
        .map_err(failed("write", file))
        .inspect_err(|_| _ = remove(&partial))
}

/// Writes tensors; what goes wrong is the operating system's doing.
fn serialize(
    views: Vec<(&str, TensorView<'_>)>,
    metadata: HashMap<String, String>,
    file: &Path,
) -> std::io::Result<()> {
    match safetensors::serialize_to_file(views, Some(metadata), file) {
        Ok(()) => Ok(()),
        Err(safetensors::SafeTensorError::IoError(error)) => Err(error),
        Err(error) => Err(std::io::Error::other(error)),
    }
}

/// Reads the state file of a run with the same fingerprint and as many parameters.
///
/// # Errors
/// If it can't be read, is damaged, or is of another run (the difference is named).
pub fn read(file: &Path, fingerprint: &serde_json::Value, parameters: usize) -> Result<Snapshot> {
    let data = fs::read(file).map_err(failed("read", file))?;
    let damaged = |what: String| Error::Checkpoint {
        path: file.to_path_buf(),
        what: format!("not a checkpoint: {what}"),
    };
    let (_, metadata) = SafeTensors::read_metadata(&data).map_err(|e| damaged(e.to_string()))?;
    let header = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get(KEY))
        .ok_or_else(|| damaged("no state".to_owned()))?;
    let header: Header = serde_json::from_str(header).map_err(|e| damaged(e.to_string()))?;
    if header.version != VERSION {
        return Err(damaged(format!(
            "version {}, this tool reads {VERSION}",
            header.version
        )));
    }
    same_run(&header.fingerprint, fingerprint)?;
    let tensors = SafeTensors::deserialize(&data).map_err(|e| damaged(e.to_string()))?;
    let vector = |name: &str| -> Result<Vec<f32>> {
        let view = tensors.tensor(name).map_err(|e| damaged(e.to_string()))?;
        if view.dtype() != Dtype::F32 || view.data().len() != parameters * 4 {
            return Err(damaged(format!(
                "{name} has shape {:?}, the run has {parameters} parameters",
                view.shape()
            )));
        }
        Ok(view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect())
    };
    let best = header.state.best.map(|_| vector("best")).transpose()?;
    Ok(Snapshot {
        params: vector("params")?,
        m: vector("m")?,
        v: vector("v")?,
        best,
        state: header.state,
    })
}

/// Names the first thing in which two runs differ.
fn same_run(found: &serde_json::Value, wanted: &serde_json::Value) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let keys = wanted
        .as_object()
        .into_iter()
        .chain(found.as_object())
        .flat_map(|map| map.keys());
    let key = keys
        .into_iter()
        .find(|key| found.get(key.as_str()) != wanted.get(key.as_str()));
    let (name, was, is) = match key {
        Some(key) => (key.as_str(), &found[key.as_str()], &wanted[key.as_str()]),
        None => ("configuration", found, wanted),
    };
    Err(Error::OtherRun {
        name: name.to_owned(),
        was: Box::new(was.clone()),
        is: Box::new(is.clone()),
    })
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

/// Removes what a finished run no longer needs: the best model, which the output itself then holds, and the state file. That
/// goes last, so that a run that fails here can still be continued.
///
/// # Errors
/// If the operating system refuses.
pub fn clear(out: &Path) -> Result<()> {
    remove(&out.join("checkpoints").join("best"))?;
    remove(&state_file(out))
}

/// Removes a file or folder that may not be there.
fn remove(path: &Path) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Best;
    use serde_json::json;

    fn state() -> State {
        State {
            step: 5,
            best: Some(Best {
                step: 4,
                loss: 0.1 + 0.2,
            }),
            ..State::default()
        }
    }

    fn write_one(dir: &Path) -> PathBuf {
        let file = dir.join("state.safetensors");
        let vectors: [(&str, &[f32]); 4] = [
            ("params", &[1.0, -0.0]),
            ("m", &[2.0, 3.0]),
            ("v", &[4.0, 5.0]),
            ("best", &[6.0, 7.0]),
        ];
        write(&file, &json!({"lr": 0.1, "rank": 8}), &state(), &vectors).unwrap();
        file
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = write_one(dir.path());
        let read = read(&file, &json!({"lr": 0.1, "rank": 8}), 2).unwrap();
        assert_eq!(read.state, state());
        assert_eq!(read.params[1].to_bits(), (-0.0f32).to_bits());
        assert_eq!(
            (read.m, read.v, read.best),
            (vec![2.0, 3.0], vec![4.0, 5.0], Some(vec![6.0, 7.0]))
        );
    }

    #[test]
    fn another_run_is_refused_and_the_difference_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = write_one(dir.path());
        let error = read(&file, &json!({"lr": 0.1, "rank": 16}), 2)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "the interrupted run had another rank: 8, not 16");
    }

    #[test]
    fn a_damaged_file_is_an_error_at_any_length() {
        let dir = tempfile::tempdir().unwrap();
        let file = write_one(dir.path());
        let whole = fs::read(&file).unwrap();
        for length in (0..whole.len()).step_by(7) {
            fs::write(&file, &whole[..length]).unwrap();
            let error = read(&file, &json!({"lr": 0.1, "rank": 8}), 2)
                .unwrap_err()
                .to_string();
            assert!(error.contains("not a checkpoint"), "{error}");
        }
        fs::write(&file, &whole).unwrap();
        let error = read(&file, &json!({"lr": 0.1, "rank": 8}), 3)
            .unwrap_err()
            .to_string();
        assert!(error.contains("the run has 3 parameters"), "{error}");
    }
}
