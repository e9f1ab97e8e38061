//! The state file: parameters, moments and progress under a checksum.
use super::folder::{remove, state_file_before};
use crate::error::{Error, Result, failed};
use crate::state::State;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

/// Format of the state file.
const VERSION: u32 = 2;
/// Its metadata key.
const KEY: &str = "lora-train";
/// Metadata key of the checksum.
const CHECKSUM: &str = "sha256";
/// Parameters, moments, and the parameters of the best evaluation: f32.
const VECTORS: [&str; 4] = ["params", "m", "v", "best"];
/// What the caller keeps with the state: bytes.
const KEPT: &str = "kept";

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
    /// What the caller has kept with it.
    pub kept: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    /// What the result depends on; a run is continued only with the same.
    fingerprint: serde_json::Value,
    state: State,
}

/// Writes the state file; the former one stays beside it.
///
/// # Errors
/// If the operating system refuses.
pub fn write(
    file: &Path,
    fingerprint: &serde_json::Value,
    state: &State,
    vectors: &[(&str, &[f32])],
    kept: &[u8],
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
    let mut parts = vec![(KEPT, kept, Dtype::U8)];
    for (name, values) in vectors {
        parts.push((name, bytemuck::cast_slice(values), Dtype::F32));
    }
    let sums = parts.iter().map(|(name, bytes, _)| (*name, *bytes));
    let checksum = checksum(&header, sums);
    let metadata = HashMap::from([(KEY.to_owned(), header), (CHECKSUM.to_owned(), checksum)]);
    let mut views = Vec::new();
    for (name, bytes, dtype) in parts {
        let count = bytes.len() / if dtype == Dtype::F32 { 4 } else { 1 };
        let view = TensorView::new(dtype, vec![count], bytes);
        views.push((name, view.map_err(|e| failed_to_write(e.to_string()))?));
    }
    let partial = file.with_extension("new");
    serialize(views, metadata, &partial)
        .and_then(|()| File::open(&partial)?.sync_all())
        .and_then(|()| match fs::rename(file, state_file_before(file)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => fs::rename(&partial, file),
        })
        .map_err(failed("write", file))
        .inspect_err(|_| _ = remove(&partial))
}

/// sha256 of a state and of the parts beside it, each with its name and length.
fn checksum<'p>(header: &str, parts: impl Iterator<Item = (&'p str, &'p [u8])>) -> String {
    let mut parts: Vec<_> = parts.collect();
    parts.sort_by_key(|(name, _)| *name);
    let mut sum = Sha256::new();
    for (name, bytes) in [(KEY, header.as_bytes())].into_iter().chain(parts) {
        sum.update(name.as_bytes());
        sum.update((bytes.len() as u64).to_le_bytes());
        sum.update(bytes);
    }
    sum.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
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

/// A state that was read, and what is wrong with the later one if it is the one before.
#[derive(Debug)]
pub struct Found {
    /// None if there is no state, or only damaged ones.
    pub snapshot: Option<Snapshot>,
    /// What is wrong with damaged ones.
    pub damaged: Vec<Error>,
}

/// Reads the last state of a run with the same fingerprint and as many parameters; if that is damaged, the one before.
///
/// # Errors
/// If it can't be read, or is of another run (the difference is named).
pub fn find(file: &Path, fingerprint: &serde_json::Value, parameters: usize) -> Result<Found> {
    let mut damaged = Vec::new();
    for file in [file, &state_file_before(file)] {
        if !file.exists() {
            continue;
        }
        match read(file, fingerprint, parameters) {
            Err(error @ Error::Checkpoint { .. }) => damaged.push(error),
            read => {
                let snapshot = Some(read?);
                return Ok(Found { snapshot, damaged });
            }
        }
    }
    Ok(Found {
        snapshot: None,
        damaged,
    })
}

/// Reads a state file of a run with the same fingerprint and as many parameters.
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
    let metadata = metadata.metadata().as_ref();
    let text = |key: &str| metadata.and_then(|m| m.get(key)).map(String::as_str);
    let told = text(KEY).ok_or_else(|| damaged("no state".to_owned()))?;
    let tensors = SafeTensors::deserialize(&data).map_err(|e| damaged(e.to_string()))?;
    let parts = tensors.iter().map(|(name, view)| (name, view.data()));
    if text(CHECKSUM) != Some(&checksum(told, parts)) {
        return Err(damaged("its checksum is another".to_owned()));
    }
    let header: Header = serde_json::from_str(told).map_err(|e| damaged(e.to_string()))?;
    if header.version != VERSION {
        return Err(damaged(format!(
            "version {}, this tool reads {VERSION}",
            header.version
        )));
    }
    same_run(&header.fingerprint, fingerprint)?;
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
    let [params, m, v, best] = VECTORS;
    let kept = tensors.tensor(KEPT).map_err(|e| damaged(e.to_string()))?;
    Ok(Snapshot {
        params: vector(params)?,
        m: vector(m)?,
        v: vector(v)?,
        best: header.state.best.map(|_| vector(best)).transpose()?,
        kept: kept.data().to_vec(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Best;
    use serde_json::json;
    use std::path::PathBuf;

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
        let run = json!({"lr": 0.1, "rank": 8});
        write(&file, &run, &state(), &vectors, b"line\n").unwrap();
        file
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = write_one(dir.path());
        let read = read(&file, &json!({"lr": 0.1, "rank": 8}), 2).unwrap();
        assert_eq!((read.state, &read.kept[..]), (state(), &b"line\n"[..]));
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
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&file, &flipped).unwrap();
            let read = read(&file, &json!({"lr": 0.1, "rank": 8}), 2);
            // A bit of the header that means nothing may be another.
            assert!(read.is_err() || read.unwrap().params[0] == 1.0, "{at}");
        }
        fs::write(&file, &whole).unwrap();
        let error = read(&file, &json!({"lr": 0.1, "rank": 8}), 3)
            .unwrap_err()
            .to_string();
        assert!(error.contains("the run has 3 parameters"), "{error}");
    }

    #[test]
    fn where_the_last_is_damaged_the_one_before_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let run = json!({"lr": 0.1, "rank": 8});
        let file = write_one(dir.path());
        let whole = |found: &Found| found.snapshot.is_some();
        let found = |damaged: usize| {
            let found = find(&file, &run, 2).unwrap();
            assert_eq!(found.damaged.len(), damaged);
            found
        };
        assert!(whole(&found(0)));
        write_one(dir.path());
        fs::write(&file, "x").unwrap();
        assert!(whole(&found(1)));
        fs::write(state_file_before(&file), "").unwrap();
        assert!(!whole(&found(2)));
        fs::remove_file(&file).unwrap();
        assert!(!whole(&found(1)));
        assert!(!whole(&find(&dir.path().join("none"), &run, 2).unwrap()));
    }
}
