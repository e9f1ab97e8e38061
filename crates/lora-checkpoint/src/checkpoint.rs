//! An opened model: which file holds which weight. Every weight that the config calls for is present, of the right
//! shape and readable, so that later reads can't fail.
mod opening;
mod vocabulary;

use crate::error::{Error, Result, invalid};
use crate::gguf::parse::Gguf;
use crate::mapped::Mapped;
use crate::view::{Entry, TensorView};
use crate::vocabulary::{Enlarged, Vocabulary};
use crate::{Chat, ModelConfig, TokenizerBundle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Layout of a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Folder with config.json and safetensors.
    HuggingFace,
    /// Single GGUF file.
    Gguf,
}

/// An opened model: mmapped files, parsed config.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    pub(crate) config: ModelConfig,
    files: Vec<Mapped>,
    entries: BTreeMap<String, Entry>,
    gguf: Option<Gguf>,
    notes: Vec<String>,
    /// How chats are written, where that is not what the files say.
    chat: Option<Chat>,
    /// What was added to the vocabulary, and the weights that it made larger.
    added: Option<Vocabulary>,
    enlarged: BTreeMap<String, Enlarged>,
    /// Experts in blocks are written as other weights are.
    is_widened: bool,
    /// An end of an answer that the files do not name.
    pub(crate) added_end: Option<u32>,
}

impl Checkpoint {
    /// Refuses weights that somebody has written into since this was opened. To be asked before what was made of them is
    /// called finished.
    ///
    /// # Errors
    /// If a file was, with its name.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        self.files.iter().try_for_each(Mapped::check_unchanged)
    }

    /// The same model with its chats written in another way: with the template and the system text that an adapter was
    /// trained with.
    #[must_use]
    pub fn with_chat(mut self, chat: Chat) -> Self {
        self.chat = Some(chat);
        self
    }

    /// The same model, whose experts are written as its other weights are where they lie in blocks of MXFP4: those can't hold
    /// a change of them.
    #[must_use]
    pub fn widened(mut self) -> Self {
        self.is_widened = true;
        self
    }

    /// Whether experts in blocks are written as other weights are.
    pub(crate) fn is_widened(&self) -> bool {
        self.is_widened
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Kind of file.
    pub fn format(&self) -> Format {
        if self.gguf.is_some() {
            Format::Gguf
        } else {
            Format::HuggingFace
        }
    }
    /// How many files hold its weights.
    pub fn files(&self) -> usize {
        self.files.len()
    }
    /// Shape of the decoder.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
    /// Hugging Face names of all weights, sorted. A tied head is not listed.
    pub fn tensor_names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }
    /// A view of one weight by its Hugging Face name.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, Error> {
        if let Some((name, enlarged)) = self.enlarged.get_key_value(name) {
            return Ok(enlarged.view(name));
        }
        match self.entries.get_key_value(name) {
            Some((name, entry)) => {
                let mut view = TensorView::new(name, entry, self.files[entry.file].bytes());
                if let Some((file, range)) = &entry.rest {
                    view = view.with_rest(&self.files[*file].bytes()[range.clone()]);
                }
                Ok(match &entry.exponents {
                    None => view,
                    Some((file, range)) => {
                        view.with_exponents(&self.files[*file].bytes()[range.clone()])
                    }
                })
            }
            None => Err(invalid(&self.path, format!("no tensor {name}"))),
        }
    }
    /// Tokenizer, chat template and special tokens.
    pub fn tokenizer(&self) -> Result<TokenizerBundle, Error> {
        let own = match &self.gguf {
            Some(gguf) => TokenizerBundle::from_gguf(self.files[0].path(), gguf),
            None => self.folder_tokenizer(),
        }?;
        Ok(match &self.chat {
            Some(chat) => own.with_chat_template(chat.template.clone()),
            None => own,
        })
    }
    /// The tokenizer of a folder. One that knows added tokens writes chats as the model's own does.
    fn folder_tokenizer(&self) -> Result<TokenizerBundle> {
        let folder = self.tokenizer_folder();
        let bundle = TokenizerBundle::from_folder(folder, &self.config)?;
        if folder == self.path {
            return Ok(bundle);
        }
        let own = Chat::of_folder(&self.path)?.template;
        let added = self.added.iter().flat_map(|added| added.tokens.values());
        Ok(bundle
            .with_chat_template(own)
            .with_added(added.cloned().collect()))
    }
    /// The folder that the tokenizer's files are read from.
    pub(crate) fn tokenizer_folder(&self) -> &Path {
        let added = self.added.as_ref();
        let own = added.and_then(|added| added.tokenizer.as_deref());
        own.unwrap_or(&self.path)
    }
    /// Chat template and system text, without the tokenizer.
    pub fn chat(&self) -> Result<Chat, Error> {
        match (&self.chat, &self.gguf) {
            (Some(chat), _) => Ok(chat.clone()),
            (None, Some(_)) => Ok(Chat::of_metadata(|key| self.metadata(key))),
            (None, None) => Chat::of_folder(&self.path),
        }
    }
    /// True if chats are written in another way than the files say.
    pub(crate) fn has_other_chat(&self) -> bool {
        self.chat.is_some()
    }
    /// What the model's own settings ask for and is not done when it is trained here, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
    /// Refuses to write `target` if that is one of this model's own files: they are mapped, and would be cut off under
    /// the reader.
    pub(crate) fn refuse_own_file(&self, target: &Path) -> Result<()> {
        let Ok(target) = target.canonicalize() else {
            return Ok(());
        };
        match self
            .files
            .iter()
            .any(|f| f.path().canonicalize().is_ok_and(|own| own == target))
        {
            false => Ok(()),
            true => {
                Err(invalid(&target, "the model is read from this file").hint("write it elsewhere"))
            }
        }
    }
    /// The GGUF files behind the model, parsed and as they are.
    pub(crate) fn gguf_files(&self) -> Option<(&Gguf, &[Mapped])> {
        Some((self.gguf.as_ref()?, &self.files))
    }
    /// All GGUF metadata in the order of its keys; nothing for a Hugging Face folder.
    pub(crate) fn all_metadata(&self) -> impl Iterator<Item = (&String, &crate::gguf::Value)> {
        self.gguf.iter().flat_map(|g| &g.metadata)
    }
    /// A GGUF metadata value; None for a Hugging Face folder or an absent key.
    pub fn metadata(&self, key: &str) -> Option<&crate::gguf::Value> {
        self.gguf.as_ref()?.metadata.get(key)
    }
}
