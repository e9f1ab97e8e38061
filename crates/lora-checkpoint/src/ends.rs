//! The tokens at which a model ends an answer, and one more among them: what an adapter's rows end with may be none of its
//! base's.
use crate::config_json;
use crate::error::{Error, Result, invalid};
use crate::files::{read_json, write_json};
use crate::gguf::Value as Meta;
use crate::gguf::parse::Gguf;
use crate::tokenizer::GGUF_ENDS;
use crate::{Checkpoint, ModelConfig};
use serde_json::{Map, Value, json};
use std::path::Path;

/// bos, eos (a list if there are several) and pad.
pub(crate) fn special_ids(config: &ModelConfig) -> Map<String, Value> {
    let eos = match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    };
    let ids = [
        ("bos_token_id", json!(config.bos_token_id)),
        ("eos_token_id", eos),
        ("pad_token_id", json!(config.pad_token_id)),
    ];
    ids.map(|(key, id)| (key.to_owned(), id))
        .into_iter()
        .collect()
}

impl Checkpoint {
    /// The same model, which ends its answers at this token, too. It is written among the ends that the files name.
    #[must_use]
    pub fn ending_at(mut self, end: u32) -> Self {
        if !self.config.eos_token_ids.contains(&end) {
            self.config.eos_token_ids.push(end);
            self.added_end = Some(end);
        }
        self
    }
}

/// Puts a token among the ends of the model in a folder: in generation_config.json, where transformers and vLLM look.
///
/// # Errors
/// If the folder's files can't be read, or the disk refuses.
pub fn add_end(dir: &Path, end: u32) -> Result<(), Error> {
    let mut config = config_json::load(&dir.join("config.json"))?.config;
    if !config.eos_token_ids.contains(&end) {
        config.eos_token_ids.push(end);
    }
    let path = dir.join("generation_config.json");
    let mut generation = match path.is_file() {
        true => read_json(&path)?,
        false => Value::Object(special_ids(&config)),
    };
    let Some(map) = generation.as_object_mut() else {
        return Err(invalid(&path, "not a JSON object"));
    };
    map.insert("eos_token_id".to_owned(), json!(config.eos_token_ids));
    write_json(&path, &generation)
}

/// What says so in the metadata of a GGUF file: the first key that names no token yet.
///
/// # Errors
/// If each does.
pub(crate) fn metadata(gguf: &Gguf, path: &Path, end: u32) -> Result<(String, Meta), Error> {
    let names_none = |key: &String| match gguf.metadata.get(key) {
        None => true,
        Some(value) => value.as_u64() == Some(u64::from(u32::MAX)),
    };
    let keys = GGUF_ENDS.map(|name| format!("tokenizer.ggml.{name}_token_id"));
    let free = keys.into_iter().find(names_none);
    let key = free.ok_or_else(|| {
        let what = format!("its metadata name three ends of an answer, and no key is left for token {end}, with which the adapter's rows end");
        invalid(path, what).hint("merge into a folder (lora-merge --out DIR): generation_config.json names any number")
    })?;
    Ok((key, Meta::U32(end)))
}
