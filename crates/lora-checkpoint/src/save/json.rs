//! config.json and generation_config.json of a written folder.
use super::config_json::build;
use super::encode::SaveDtype;
use super::stacks;
use crate::ends::{add_end, special_ids};
use crate::error::{Error, invalid, io};
use crate::files::{read_json, write_json};
use crate::{Checkpoint, Format};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Both config files. A Hugging Face source keeps every key of its own; only the dtype is the new one.
pub(crate) fn write_configs(
    dir: &Path,
    model: &Checkpoint,
    dtype: SaveDtype,
    files: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let path = dir.join("config.json");
    let config = match model.format() {
        Format::HuggingFace => {
            let own = read_json(&model.path().join("config.json"))?;
            let own = with_vocabulary(with_dtype(own, dtype), model);
            with_tying(own, model.config().tie_word_embeddings)
        }
        Format::Gguf => build(model.config(), dtype).map_err(|m| invalid(model.path(), m))?,
    };
    let config = with_blocks(config, stacks::has_blocks(model)?);
    write_json(&path, &config)?;
    files.push(path);
    let path = dir.join("generation_config.json");
    let source = model.path().join("generation_config.json");
    match model.format() {
        Format::HuggingFace if source.is_file() => {
            let bytes = std::fs::read(&source).map_err(io("read", &source))?;
            std::fs::write(&path, bytes).map_err(io("write", &path))?;
        }
        Format::HuggingFace if model.added_end.is_none() => return Ok(()),
        Format::HuggingFace => {}
        Format::Gguf => write_json(&path, &Value::Object(special_ids(model.config())))?,
    }
    if let Some(end) = model.added_end {
        add_end(dir, end)?;
    }
    files.push(path);
    Ok(())
}

fn with_dtype(mut config: Value, dtype: SaveDtype) -> Value {
    if let Some(map) = config.as_object_mut() {
        let old_key = map.contains_key("torch_dtype");
        if old_key {
            map.insert("torch_dtype".to_owned(), dtype.torch_name().into());
        }
        if !old_key || map.contains_key("dtype") {
            map.insert("dtype".to_owned(), dtype.torch_name().into());
        }
    }
    config
}

/// The rows of a vocabulary that was made larger; a text part has a number of its own.
fn with_vocabulary(mut config: Value, model: &Checkpoint) -> Value {
    if model.added_vocabulary().is_none() {
        return config;
    }
    let part = match config.get("text_config") {
        Some(text) if text.is_object() => "/text_config",
        _ => "",
    };
    let part = config.pointer_mut(part).and_then(Value::as_object_mut);
    if let Some(map) = part {
        map.insert("vocab_size".to_owned(), model.config().vocab_size.into());
    }
    config
}

/// Says whether experts are in blocks of MXFP4, as published folders say it.
fn with_blocks(mut config: Value, has_blocks: bool) -> Value {
    if let Some(map) = config.as_object_mut() {
        if !has_blocks {
            map.remove("quantization_config");
        } else if map.get("quantization_config").is_none_or(Value::is_null) {
            let other = [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ];
            let own = json!({"quant_method": "mxfp4", "modules_to_not_convert": other});
            map.insert("quantization_config".to_owned(), own);
        }
    }
    config
}

/// Says whether the head is the embedding, where the source's config says otherwise (or nothing, which means its family's
/// default).
fn with_tying(mut config: Value, tied: bool) -> Value {
    let said = config.get("tie_word_embeddings").and_then(Value::as_bool);
    if let Some(map) = config
        .as_object_mut()
        .filter(|_| !tied && said != Some(false))
    {
        map.insert("tie_word_embeddings".to_owned(), tied.into());
    }
    config
}
