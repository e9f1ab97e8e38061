//! Tokenizer files as transformers' AutoTokenizer reads them.
use super::bundle::TokenizerBundle;
use super::folder::{TEMPLATE_FILE, template_of_folder};
use crate::error::{Error, io};
use crate::files::{read_json, write_json};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The files that make a tokenizer in a Hugging Face folder.
const FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    TEMPLATE_FILE,
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

/// Copies the tokenizer files of one folder into another, unchanged; a chat template that lies in none of them gets a file.
/// Returns the copies.
pub(crate) fn copy_files(from: &Path, to: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut copies = Vec::new();
    for name in FILES {
        let source = from.join(name);
        if source.is_file() {
            let copy = to.join(name);
            // Written anew rather than copied, so that a read-only source does not give a read-only copy.
            let bytes = std::fs::read(&source).map_err(io("read", &source))?;
            std::fs::write(&copy, bytes).map_err(io("write", &copy))?;
            copies.push(copy);
        }
    }
    let template = template_of_folder(from)?;
    if template_of_folder(to)? != template {
        set_template(to, template.as_deref(), &mut copies)?;
    }
    Ok(copies)
}

/// Puts a chat template, or none, in place of the one among the tokenizer files of `dir`. tokenizer_config.json may hold
/// one, too, which some readers prefer to chat_template.jinja: it is taken out there.
pub(crate) fn set_template(
    dir: &Path,
    template: Option<&str>,
    files: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let settings = dir.join("tokenizer_config.json");
    if settings.is_file()
        && let Value::Object(mut map) = read_json(&settings)?
        && map.shift_remove("chat_template").is_some()
    {
        write_json(&settings, &Value::Object(map))?;
    }
    let path = dir.join(TEMPLATE_FILE);
    match template {
        Some(template) => {
            std::fs::write(&path, template).map_err(io("write", &path))?;
            if !files.contains(&path) {
                files.push(path);
            }
        }
        None if path.exists() => {
            std::fs::remove_file(&path).map_err(io("remove", &path))?;
            files.retain(|file| *file != path);
        }
        None => {}
    }
    Ok(())
}

impl TokenizerBundle {
    /// Writes the tokenizer into an existing folder: the original files unchanged if it came from a folder (but for a chat
    /// template that was put in place of their own, and for tokens that were added), else tokenizer.json, tokenizer_config.json, special_tokens_map.json
    /// and chat_template.jinja. Returns the files.
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>, Error> {
        let Some(folder) = &self.folder else {
            return self.write_built(dir);
        };
        let mut files = copy_files(folder, dir)?;
        if self.has_added {
            let path = dir.join("tokenizer.json");
            std::fs::write(&path, &self.json).map_err(io("write", &path))?;
        }
        if template_of_folder(dir)? != self.chat_template {
            set_template(dir, self.chat_template.as_deref(), &mut files)?;
        }
        Ok(files)
    }

    fn write_built(&self, dir: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        let path = dir.join("tokenizer.json");
        std::fs::write(&path, &self.json).map_err(io("write", &path))?;
        files.push(path);
        let path = dir.join("tokenizer_config.json");
        write_json(&path, &self.settings())?;
        files.push(path);
        let path = dir.join("special_tokens_map.json");
        write_json(&path, &Value::Object(self.special_tokens()))?;
        files.push(path);
        if let Some(template) = &self.chat_template {
            let path = dir.join(TEMPLATE_FILE);
            std::fs::write(&path, template).map_err(io("write", &path))?;
            files.push(path);
        }
        Ok(files)
    }

    /// tokenizer_config.json. The class is the one that takes tokenizer.json as it is, in transformers 4 and 5.
    fn settings(&self) -> Value {
        let mut settings = Map::new();
        settings.insert("add_bos_token".to_owned(), self.add_bos_token.into());
        settings.insert("clean_up_tokenization_spaces".to_owned(), false.into());
        settings.extend(self.special_tokens());
        settings.insert(
            "tokenizer_class".to_owned(),
            json!("PreTrainedTokenizerFast"),
        );
        Value::Object(settings)
    }

    fn special_tokens(&self) -> Map<String, Value> {
        let tokens = [
            ("bos_token", &self.bos_token),
            ("eos_token", &self.eos_token),
            ("pad_token", &self.pad_token),
            ("unk_token", &self.unk_token),
        ];
        tokens
            .into_iter()
            .filter_map(|(key, token)| Some((key.to_owned(), json!(token.as_ref()?))))
            .collect()
    }
}
