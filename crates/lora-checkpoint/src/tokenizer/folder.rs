//! The tokenizer of a Hugging Face folder: tokenizer.json, tokenizer_config.json and its chat template.
use super::bundle::{TokenizerBundle, fingerprint, from_json_text};
use crate::ModelConfig;
use crate::error::{Result, invalid};
use crate::files::{read_json, read_text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The file of a chat template.
pub(crate) const TEMPLATE_FILE: &str = "chat_template.jinja";

impl TokenizerBundle {
    /// Reads the tokenizer files of a folder (which may lack weights); `config` supplies BOS and EOS where
    /// tokenizer_config.json has none.
    ///
    /// # Errors
    /// If a file is missing or not what it should be.
    pub fn from_folder(dir: &Path, config: &ModelConfig) -> Result<Self> {
        let ends = (config.bos_token_id, config.eos_token_ids.first().copied());
        Self::read(dir, ends)
    }

    /// Reads the tokenizer files of a folder that is no model's.
    ///
    /// # Errors
    /// As for [`TokenizerBundle::from_folder`].
    pub fn from_files(dir: &Path) -> Result<Self> {
        Self::read(dir, (None, None))
    }

    fn read(dir: &Path, (bos, eos): (Option<u32>, Option<u32>)) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        if !path.is_file() {
            let hint = match dir.join("tokenizer.model").is_file() {
                true => {
                    "save the tokenizer once with transformers' save_pretrained, which writes tokenizer.json"
                }
                false => "copy it from the model that this one was made from",
            };
            return Err(invalid(dir, "no tokenizer.json").hint(hint));
        }
        let json = read_text(&path)?;
        let tokenizer = from_json_text(&path, &json)?;
        let settings = settings(dir)?;
        let token = |key: &str| token_text(&settings, key);
        let by_id = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id));
        Ok(Self {
            chat_template: chat_template(dir, &settings)?,
            named_templates: named_templates(dir, &settings)?,
            bos_token: token("bos_token").or_else(|| by_id(bos)),
            eos_token: token("eos_token").or_else(|| by_id(eos)),
            unk_token: token("unk_token"),
            pad_token: token("pad_token"),
            add_bos_token: adds_bos(&json, &settings),
            sha256: fingerprint(&tokenizer),
            tokenizer,
            json,
            folder: Some(dir.to_path_buf()),
            sha256_without_added: None,
            added_tokens: Vec::new(),
            has_added: false,
        })
    }
}

/// tokenizer_config.json, with the special tokens of special_tokens_map.json where it has none.
fn settings(dir: &Path) -> Result<serde_json::Map<String, Value>> {
    let mut all = serde_json::Map::new();
    for name in ["special_tokens_map.json", "tokenizer_config.json"] {
        let path = dir.join(name);
        if path.is_file() {
            match read_json(&path)? {
                Value::Object(map) => all.extend(map.into_iter().filter(|(_, v)| !v.is_null())),
                _ => return Err(invalid(&path, "not a JSON object")),
            }
        }
    }
    Ok(all)
}

/// A special token is a text, or an object with its `content`.
fn token_text(settings: &serde_json::Map<String, Value>, key: &str) -> Option<String> {
    let value = settings.get(key)?;
    value
        .as_str()
        .or_else(|| value.get("content")?.as_str())
        .map(str::to_owned)
}

/// The chat template of a folder, without its tokenizer.
pub(crate) fn template_of_folder(dir: &Path) -> Result<Option<String>> {
    chat_template(dir, &settings(dir)?)
}

/// chat_template.jinja; else `chat_template` in tokenizer_config.json, a text or a list of named ones; else that of a
/// processor of older models with towers, chat_template.json.
fn chat_template(dir: &Path, settings: &serde_json::Map<String, Value>) -> Result<Option<String>> {
    let path = dir.join(TEMPLATE_FILE);
    if path.is_file() {
        return read_text(&path).map(Some);
    }
    match settings.get("chat_template") {
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(Value::Array(list)) => {
            let default = list.iter().find(|one| one["name"] == "default");
            let source = default.and_then(|one| one["template"].as_str());
            Ok(source.map(str::to_owned))
        }
        _ => template_of_processor(dir),
    }
}

fn template_of_processor(dir: &Path) -> Result<Option<String>> {
    let path = dir.join("chat_template.json");
    if !path.is_file() {
        return Ok(None);
    }
    match &read_json(&path)?["chat_template"] {
        Value::String(template) => Ok(Some(template.clone())),
        _ => Err(invalid(&path, "`chat_template` is no text")
            .hint("copy the template into chat_template.jinja, which is read before it")),
    }
}

/// The templates that a folder has beside its own, by name: those of a list, and files of `additional_chat_templates`.
fn named_templates(
    dir: &Path,
    settings: &serde_json::Map<String, Value>,
) -> Result<BTreeMap<String, String>> {
    let mut named = BTreeMap::new();
    for one in settings
        .get("chat_template")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let (Some(name), Some(source)) = (one["name"].as_str(), one["template"].as_str()) {
            named.insert(name.to_owned(), source.to_owned());
        }
    }
    let files = std::fs::read_dir(dir.join("additional_chat_templates"));
    for file in files
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path())
    {
        let is_template = file.extension().is_some_and(|e| e == "jinja");
        if let Some(name) = file
            .file_stem()
            .and_then(|s| s.to_str())
            .filter(|_| is_template)
        {
            named.insert(name.to_owned(), read_text(&file)?);
        }
    }
    Ok(named)
}

/// True if tokenizer.json's post-processor starts a text with a special token, or the settings ask for it.
fn adds_bos(json: &str, settings: &serde_json::Map<String, Value>) -> bool {
    if let Some(Value::Bool(add)) = settings.get("add_bos_token") {
        return *add;
    }
    let json: Value = serde_json::from_str(json).unwrap_or_default();
    let processor = &json["post_processor"];
    let starts = |p: &Value| {
        p["type"] == "TemplateProcessing" && p["single"][0].get("SpecialToken").is_some()
    };
    let puts_cls = |p: &Value| p["type"] == "RobertaProcessing" || p["type"] == "BertProcessing";
    let starts = |p: &Value| starts(p) || puts_cls(p);
    starts(processor)
        || processor["processors"]
            .as_array()
            .is_some_and(|list| list.iter().any(starts))
}
