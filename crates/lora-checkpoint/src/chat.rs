//! How a model's chats are written: a chat template and a system text, which go together from file to file.
use crate::error::{Error, Result, io};
use crate::files::read_text;
use crate::gguf::Value;
use crate::tokenizer::{copy_files, set_template, template_of_folder};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The chat template in a GGUF file's metadata.
const TEMPLATE_KEY: &str = "tokenizer.chat_template";
/// The system text in a GGUF file's metadata: a key of our own, since the format has none.
const SYSTEM_KEY: &str = "lora.system_prompt";

/// Hex digits of a template's hash that are shown to people, and characters of a system text.
const SHOWN_DIGITS: usize = 8;
const SHOWN_CHARACTERS: usize = 40;

/// How the chats of a model or of an adapter's training rows are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chat {
    /// Jinja source of the chat template, to the byte; None if texts are joined as they are.
    pub template: Option<String>,
    /// Text of the system message of chats that bring none.
    pub system: Option<String>,
}

impl Chat {
    /// File of a folder, a model's or an adapter's, that holds the system text (called so in Mistral's folders).
    pub const SYSTEM_FILE: &str = "SYSTEM_PROMPT.txt";

    /// File of a folder that holds the chat template.
    pub const TEMPLATE_FILE: &str = crate::tokenizer::TEMPLATE_FILE;

    /// What the files of a folder say.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub fn of_folder(dir: &Path) -> Result<Self, Error> {
        let system = dir.join(Self::SYSTEM_FILE);
        Ok(Self {
            template: template_of_folder(dir)?,
            system: match system.is_file() {
                true => Some(read_text(&system)?),
                false => None,
            },
        })
    }

    /// What the metadata of a GGUF file say, a model's or an adapter's.
    pub fn of_metadata<'v>(value: impl Fn(&str) -> Option<&'v Value>) -> Self {
        let text = |key: &str| value(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            template: text(TEMPLATE_KEY),
            system: text(SYSTEM_KEY),
        }
    }

    /// The metadata of a GGUF file that say so.
    pub fn metadata(&self) -> Vec<(String, Value)> {
        let pairs = [(TEMPLATE_KEY, &self.template), (SYSTEM_KEY, &self.system)];
        pairs
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), Value::String(text.clone()?))))
            .collect()
    }

    /// True for every key under which a GGUF file holds a chat template (some have several, by name) or a system text.
    pub(crate) fn is_key(key: &str) -> bool {
        key.starts_with(TEMPLATE_KEY) || key == SYSTEM_KEY
    }

    /// Puts itself in place of what the files of a folder say, which holds the tokenizer's.
    ///
    /// # Errors
    /// If they can't be read, or the disk refuses.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        if template_of_folder(dir)? != self.template {
            set_template(dir, self.template.as_deref(), &mut Vec::new())?;
        }
        let path = dir.join(Self::SYSTEM_FILE);
        match &self.system {
            Some(text) => std::fs::write(&path, text).map_err(io("write", &path)),
            None if path.exists() => std::fs::remove_file(&path).map_err(io("remove", &path)),
            None => Ok(()),
        }
    }

    /// Copies tokenizer files, chat template and system text of a folder into another, unchanged.
    ///
    /// # Errors
    /// If they can't be read, or the disk refuses.
    pub fn copy_with_tokenizer(from: &Path, to: &Path) -> Result<(), Error> {
        copy_files(from, to)?;
        Self::of_folder(from)?.write(to)
    }

    /// sha256 of the template, see [`template_sha256`].
    pub fn template_sha256(&self) -> Option<String> {
        self.template.as_deref().map(template_sha256)
    }

    /// True if both write every chat alike: the newline at the end of a template is no part of it.
    pub fn is_like(&self, other: &Self) -> bool {
        self.system == other.system && self.template_sha256() == other.template_sha256()
    }

    /// For one line of a message: `chat template 1a2b3c4d and the system text "Be brief."`.
    pub fn describe(&self) -> String {
        let template = match self.template_sha256() {
            Some(hash) => format!("chat template {}", &hash[..SHOWN_DIGITS]),
            None => "no chat template".to_owned(),
        };
        match &self.system {
            None => template,
            Some(text) => format!("{template} and the system text {}", shown(text)),
        }
    }
}

/// The beginning of a text, quoted, in one line.
pub fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

/// sha256 of a chat template's source without its last newline, which Jinja drops: the same from a folder and from a GGUF.
pub fn template_sha256(source: &str) -> String {
    let source = source.strip_suffix('\n').unwrap_or(source);
    Sha256::digest(source)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(template: Option<&str>, system: Option<&str>) -> Chat {
        Chat {
            template: template.map(str::to_owned),
            system: system.map(str::to_owned),
        }
    }

    #[test]
    fn chats_are_alike_if_they_write_alike() {
        assert!(chat(Some("a\n"), None).is_like(&chat(Some("a"), None)));
        for other in [
            chat(Some("a\n\n"), None),
            chat(None, None),
            chat(Some("a"), Some("")),
        ] {
            assert!(!other.is_like(&chat(Some("a"), None)), "{other:?}");
        }
    }

    #[test]
    fn a_description_is_one_line() {
        let long = chat(Some("a"), Some(&format!("two\nlines {}", "é".repeat(90))));
        let described = long.describe();
        assert!(described.starts_with("chat template ca978112 and the system text \"two\\nlines"));
        assert!(described.ends_with("…\"") && described.chars().count() < 120);
        assert_eq!(chat(None, None).describe(), "no chat template");
    }
}
