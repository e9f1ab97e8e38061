//! A Hugging Face folder, written as a stream: header first, then rows as they come.
use super::encode::{Encoder, Rows, SaveDtype};
use super::json;
use super::rounding::Rounding;
use super::stacks;
use super::verify::verify;
use crate::error::{Error, invalid, io};
use crate::files::write_json;
use crate::stored::{Laid, Stored};
use crate::tokenizer::copy_files;
use crate::view::TensorView;
use crate::{Chat, Checkpoint, Format};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes of weights in one file before the next is begun (transformers 4's limit).
const SHARD_BYTES: u64 = 5_000_000_000;
/// Values that are in memory at a time.
pub(crate) const CHUNK_VALUES: usize = 1 << 20;

/// What [`save_folder`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The files, in the order they were written.
    pub files: Vec<PathBuf>,
    /// What could not be carried over, a line each.
    pub warnings: Vec<String>,
}

/// Writes `model` into the existing folder `dir` as transformers does: config.json, generation_config.json, tokenizer
/// files and weights in `dtype`, then opens it again and compares its configuration with the source's. `edit` sees every chunk of rows (tensor, first row, whole rows in f32) before it is
/// rounded, once, and may change it: a merge adds its delta there, and progress is counted there. Weights that are not
/// finite, or that `dtype` can't hold, are refused.
pub fn save_folder<E: From<Error>>(
    dir: &Path,
    model: &Checkpoint,
    dtype: SaveDtype,
    edit: impl FnMut(&TensorView<'_>, usize, &mut [f32]) -> Result<(), E>,
) -> Result<Saved, E> {
    save_sharded(dir, model, dtype, SHARD_BYTES, edit)
}

pub(crate) fn save_sharded<E: From<Error>>(
    dir: &Path,
    model: &Checkpoint,
    dtype: SaveDtype,
    shard_bytes: u64,
    mut edit: impl FnMut(&TensorView<'_>, usize, &mut [f32]) -> Result<(), E>,
) -> Result<Saved, E> {
    let shards = plan_shards(model, dtype, shard_bytes)?;
    for index in 0..shards.len() {
        model.refuse_own_file(&dir.join(shard_name(index, shards.len())))?;
    }
    let mut saved = Saved {
        files: Vec::new(),
        warnings: Vec::new(),
    };
    json::write_configs(dir, model, dtype, &mut saved.files)?;
    write_tokenizer(dir, model, &mut saved)?;
    write_chat(dir, model, &mut saved)?;
    let constants = model.config().constants();
    let mut buffers = (Encoder::default(), Vec::new());
    let mut rounding = Rounding::watch(model, dtype.storage())?;
    let mut edit = |view: &TensorView<'_>, first: usize, rows: &mut [f32]| {
        rounding.see(view, rows);
        edit(view, first, rows)
    };
    for (index, tensors) in shards.iter().enumerate() {
        let path = dir.join(shard_name(index, shards.len()));
        let is_last = index + 1 == shards.len();
        let held = Held {
            tensors,
            constants: if is_last { &constants } else { &[] },
        };
        write_shard(&path, model, held, dtype, &mut buffers, &mut edit)?;
        saved.files.push(path);
    }
    if shards.len() > 1 {
        saved.files.push(write_index(dir, model, dtype, &shards)?);
    }
    saved.warnings.extend(rounding.warning());
    verify(dir, model.config(), &model.chat()?)?;
    Ok(saved)
}

/// Tensors by shard; none is ever split.
fn plan_shards(
    model: &Checkpoint,
    dtype: SaveDtype,
    shard_bytes: u64,
) -> Result<Vec<Vec<Stored>>, Error> {
    let mut shards = vec![Vec::new()];
    let mut used = 0;
    let mut weights = Vec::new();
    for name in model.tensor_names() {
        let shape = model.tensor(&name)?.shape().to_vec();
        weights.push((name, shape));
    }
    for tensor in stacks::chosen(model, weights)? {
        let bytes = size(&tensor, dtype);
        if used > 0 && used + bytes > shard_bytes {
            shards.push(Vec::new());
            used = 0;
        }
        used += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push(tensor);
        }
    }
    Ok(shards)
}

/// Bytes of a tensor.
fn size(tensor: &Stored, dtype: SaveDtype) -> u64 {
    let values: usize = tensor.shape.iter().product();
    let each = match tensor.is_of_bytes() {
        true => 1,
        false => dtype.storage().unit().1,
    };
    (values * each) as u64
}

fn shard_name(index: usize, count: usize) -> String {
    match count {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
    }
}

/// What a file holds: weights, and after them constants (see [`ModelConfig::constants`](crate::ModelConfig::constants)).
#[derive(Clone, Copy)]
struct Held<'a> {
    tensors: &'a [Stored],
    constants: &'a [(String, f32)],
}

fn write_shard<E: From<Error>>(
    path: &Path,
    model: &Checkpoint,
    held: Held<'_>,
    dtype: SaveDtype,
    (encoder, rows): &mut (Encoder, Vec<f32>),
    edit: &mut impl FnMut(&TensorView<'_>, usize, &mut [f32]) -> Result<(), E>,
) -> Result<(), E> {
    let mut file =
        BufWriter::with_capacity(1 << 20, File::create(path).map_err(io("create", path))?);
    file.write_all(&header(held, dtype))
        .map_err(io("write", path))?;
    for tensor in held.tensors {
        if tensor.laid != Laid::Whole {
            stacks::write(
                path,
                &mut file,
                (model, tensor),
                dtype,
                (encoder, rows),
                edit,
            )?;
            continue;
        }
        write_whole(
            path,
            &mut file,
            (model, tensor),
            dtype,
            (encoder, rows),
            edit,
        )?;
    }
    for (name, value) in held.constants {
        let values = std::slice::from_ref(value);
        let chunk = Rows {
            values,
            columns: 1,
            importance: None,
        };
        let bytes = encoder.encode(dtype.storage(), chunk);
        let bytes = bytes.map_err(|fault| invalid(path, fault.at(format!("tensor {name}"))))?;
        file.write_all(bytes).map_err(io("write", path))?;
    }
    file.flush().map_err(io("write", path))?;
    Ok(())
}

/// Weights one behind the other.
fn write_whole<E: From<Error>>(
    path: &Path,
    file: &mut impl Write,
    (model, tensor): (&Checkpoint, &Stored),
    dtype: SaveDtype,
    (encoder, rows): (&mut Encoder, &mut Vec<f32>),
    edit: &mut impl FnMut(&TensorView<'_>, usize, &mut [f32]) -> Result<(), E>,
) -> Result<(), E> {
    for name in &tensor.weights {
        let view = model.tensor(name)?;
        let columns = view.columns();
        let per_chunk = (CHUNK_VALUES / columns).max(1);
        let mut first = 0;
        while first < view.rows() {
            rows.resize(per_chunk.min(view.rows() - first) * columns, 0.0);
            view.read_rows(first, rows);
            edit(&view, first, rows)?;
            let chunk = Rows {
                values: rows,
                columns,
                importance: None,
            };
            let bytes = encoder.encode(dtype.storage(), chunk).map_err(|fault| {
                invalid(path, fault.at(format!("tensor {name}, rows from {first}")))
            })?;
            file.write_all(bytes).map_err(io("write", path))?;
            first += rows.len() / columns;
        }
    }
    Ok(())
}

/// Length, JSON table and padding to 8 bytes.
fn header(held: Held<'_>, dtype: SaveDtype) -> Vec<u8> {
    let mut table = Map::new();
    table.insert(
        "__metadata__".to_owned(),
        serde_json::json!({"format": "pt"}),
    );
    let mut at = 0;
    let mut add = |name: &String, kind: &str, shape: &[usize], bytes: usize| {
        let end = at + bytes;
        let row = serde_json::json!({"dtype": kind, "shape": shape, "data_offsets": [at, end]});
        table.insert(name.clone(), row);
        at = end;
    };
    for tensor in held.tensors {
        let kind = match tensor.is_of_bytes() {
            true => "U8",
            false => dtype.safetensors_name(),
        };
        let bytes = size(tensor, dtype) as usize;
        add(&tensor.name, kind, &tensor.shape, bytes);
    }
    for (name, _) in held.constants {
        add(
            name,
            dtype.safetensors_name(),
            &[],
            dtype.storage().unit().1,
        );
    }
    let mut text = Value::Object(table).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}

fn write_index(
    dir: &Path,
    model: &Checkpoint,
    dtype: SaveDtype,
    shards: &[Vec<Stored>],
) -> Result<PathBuf, Error> {
    let mut map = Map::new();
    let (mut parameters, mut size) = (0, 0);
    for (index, tensors) in shards.iter().enumerate() {
        for tensor in tensors {
            let shard = Value::String(shard_name(index, shards.len()));
            map.insert(tensor.name.clone(), shard);
            size += self::size(tensor, dtype);
            parameters += match tensor.laid {
                Laid::Blocks(_) => 2 * tensor.shape.iter().product::<usize>(),
                Laid::Exponents(_) => 0,
                _ => tensor.shape.iter().product(),
            };
        }
    }
    let last = shard_name(shards.len().saturating_sub(1), shards.len());
    let constants = model.config().constants();
    size += (constants.len() * dtype.storage().unit().1) as u64;
    for (name, _) in constants {
        map.insert(name, Value::String(last.clone()));
    }
    let path = dir.join("model.safetensors.index.json");
    let json = serde_json::json!({
        "metadata": {"total_parameters": parameters, "total_size": size}, "weight_map": map,
    });
    write_json(&path, &json)?;
    Ok(path)
}

/// The tokenizer, if the model has one. A folder's files are copied even if its tokenizer is of a kind that is not read here.
fn write_tokenizer(dir: &Path, model: &Checkpoint, saved: &mut Saved) -> Result<(), Error> {
    match model.format() {
        Format::HuggingFace => {
            let copied = copy_files(model.tokenizer_folder(), dir)?;
            if copied.is_empty() {
                saved.warnings.push(format!(
                    "{} has no tokenizer files to copy",
                    model.tokenizer_folder().display()
                ));
            }
            saved.files.extend(copied);
        }
        Format::Gguf if model.metadata("tokenizer.ggml.tokens").is_none() => {
            saved
                .warnings
                .push(format!("{} has no tokenizer", model.path().display()));
        }
        Format::Gguf => saved.files.extend(model.tokenizer()?.write(dir)?),
    }
    Ok(())
}

/// The system text, and the chat template if it is not that of the tokenizer's files.
fn write_chat(dir: &Path, model: &Checkpoint, saved: &mut Saved) -> Result<(), Error> {
    model.chat()?.write(dir)?;
    for name in [Chat::TEMPLATE_FILE, Chat::SYSTEM_FILE] {
        let path = dir.join(name);
        if path.is_file() && !saved.files.contains(&path) {
            saved.files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shards_hold_the_same_model() {
        let base = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/golden/llama_rope3_rslora/base"
        );
        let model = Checkpoint::open(Path::new(base)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let keep = |_: &TensorView<'_>, _: usize, _: &mut [f32]| Ok::<(), Error>(());
        let saved = save_sharded(dir.path(), &model, SaveDtype::F32, 40_000, keep).unwrap();
        assert!(
            saved
                .files
                .iter()
                .filter(|f| f.extension().is_some_and(|e| e == "safetensors"))
                .count()
                > 2
        );
        let again = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(again.config(), model.config());
        assert_eq!(again.tensor_names(), model.tensor_names());
        for name in model.tensor_names() {
            assert_eq!(
                again.tensor(&name).unwrap().to_f32(),
                model.tensor(&name).unwrap().to_f32(),
                "{name}"
            );
        }
        let first = saved
            .files
            .iter()
            .find(|f| f.to_string_lossy().contains("00002-of"))
            .unwrap();
        std::fs::remove_file(first).ok();
        assert!(
            Checkpoint::open(dir.path())
                .unwrap_err()
                .to_string()
                .contains("failed to open")
        );
    }
}
