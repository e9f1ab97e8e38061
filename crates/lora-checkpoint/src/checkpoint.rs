//! An opened model: which file holds which weight. Every weight that the config calls for is present, of the right
//! shape and readable, so that later reads can't fail.
use crate::config_json::{self, Loaded};
use crate::error::{Error, Fault, Result, invalid, io};
use crate::families::is_rounded;
use crate::gguf::parse::Gguf;
use crate::gguf::split::{self, Opened};
use crate::gguf::{config::model_config, entries::entries};
use crate::mapped::Mapped;
use crate::view::{Entry, TensorView};
use crate::vocabulary::{Enlarged, Vocabulary, mean_row, refuse_gguf, refuse_per_layer};
use crate::{Chat, ModelConfig, TokenizerBundle, expert_rows, safetensors_files, text_part};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is said of a mixture of experts.
const FROZEN_EXPERTS: &str =
    "router and experts of this model stay as they are: LoRA trains its attention";

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
    config: ModelConfig,
    files: Vec<Mapped>,
    entries: BTreeMap<String, Entry>,
    gguf: Option<Gguf>,
    notes: Vec<String>,
    /// How chats are written, where that is not what the files say.
    chat: Option<Chat>,
    /// What was added to the vocabulary, and the weights that it made larger.
    added: Option<Vocabulary>,
    enlarged: BTreeMap<String, Enlarged>,
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

    /// Opens a Hugging Face folder, a `.gguf` file, or a folder that holds exactly one `.gguf` or all parts of one that is split.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(io("open", path))?;
        if !metadata.is_dir() {
            if path
                .file_name()
                .is_some_and(|n| n == "config.json" || n == "model.safetensors")
            {
                return Err(
                    invalid(path, "not a model by itself").hint("name the folder that holds it")
                );
            }
            return Self::open_gguf(path, path);
        }
        if path.join("config.json").is_file() {
            return Self::open_folder(path);
        }
        let ggufs = gguf_files(path)?;
        match ggufs.as_slice() {
            parts if split::are_parts(path, parts)? => {
                Self::of_gguf(path, split::open_parts(path, parts)?)
            }
            [one] => Self::open_gguf(path, one),
            [] if path.join("adapter_config.json").is_file() => {
                Err(invalid(path, "an adapter, not a model: no config.json")
                    .hint("name the base model here and the adapter with --adapter"))
            }
            [] => Err(invalid(path, "no config.json and no .gguf file")
                .hint("name a Hugging Face model folder or a GGUF file")),
            many if many.iter().any(|file| split::is_part(file)) => Err(invalid(
                path,
                format!("{} .gguf files, some of them parts of a model", many.len()),
            )
            .hint("put the parts of one model into a folder of their own, and name that")),
            many => Err(invalid(path, format!("{} .gguf files", many.len()))
                .hint(format!("name one of them, e.g. {}", many[0].display()))),
        }
    }

    fn open_folder(path: &Path) -> Result<Self> {
        let Loaded {
            config,
            has_towers,
            notes,
        } = config_json::load(&path.join("config.json"))?;
        let frozen = config.experts.map(|_| FROZEN_EXPERTS.to_owned());
        let notes = notes.into_iter().chain(frozen).collect();
        let (files, entries) = safetensors_files::open(path)?;
        let mut entries = text_part::weights(entries, has_towers);
        expert_rows::apart(&config, &mut entries).map_err(|fault| invalid(path, fault))?;
        let mut model = Self {
            path: path.to_path_buf(),
            config,
            files,
            entries,
            gguf: None,
            notes,
            chat: None,
            added: None,
            enlarged: BTreeMap::new(),
        };
        model
            .entries
            .retain(|name, _| !name.ends_with(".rotary_emb.inv_freq"));
        let unread = model.config.facts().unread_weights;
        let is_read = |name: &str| !unread.iter().any(|begin| name.starts_with(begin));
        let config = &model.config;
        let entries = &mut model.entries;
        entries.retain(|name, _| is_read(name) && !config.is_left_unread(name));
        if model.config.tie_word_embeddings {
            model.entries.remove("lm_head.weight");
        }
        model.take_constants()?;
        model.check_weights()?;
        Ok(model)
    }

    fn open_gguf(path: &Path, file: &Path) -> Result<Self> {
        Self::of_gguf(path, split::open(file)?)
    }

    fn of_gguf(path: &Path, opened: Opened) -> Result<Self> {
        let Opened { files, gguf } = opened;
        let wrap = |fault: Fault| invalid(files[0].path(), fault);
        let config = model_config(&gguf, &files).map_err(wrap)?;
        let entries = entries(&config, &gguf).map_err(wrap)?;
        let notes = config.experts.map(|_| FROZEN_EXPERTS.to_owned());
        let notes = notes.into_iter().collect();
        let model = Self {
            path: path.to_path_buf(),
            config,
            files,
            entries,
            gguf: Some(gguf),
            notes,
            chat: None,
            added: None,
            enlarged: BTreeMap::new(),
        };
        model.check_weights()?;
        model.check_rates()?;
        Ok(model)
    }

    /// Rates of decay, which GGUF stores as such, are negative.
    fn check_rates(&self) -> Result<()> {
        for (name, entry) in self.entries.iter().filter(|(_, entry)| entry.is_rate) {
            let file = &self.files[entry.file];
            let values = TensorView::new(name, entry, file.bytes()).to_f32();
            if !values.iter().all(|value| value.is_finite()) {
                let message = format!("tensor {name} holds a rate of decay that is not negative");
                return Err(invalid(file.path(), message));
            }
        }
        Ok(())
    }

    /// The same model with a head of its own: a tied one becomes a tensor, of the same values as the embedding.
    #[must_use]
    pub fn untied(mut self) -> Self {
        if self.config.tie_word_embeddings
            && let Some(entry) = self.entries.get("model.embed_tokens.weight").cloned()
        {
            self.entries.insert("lm_head.weight".to_owned(), entry);
            if let Some(enlarged) = self.enlarged.get("model.embed_tokens.weight").cloned() {
                self.enlarged.insert("lm_head.weight".to_owned(), enlarged);
            }
            self.config.tie_word_embeddings = false;
        }
        self
    }

    /// The same model with its chats written in another way: with the template and the system text that an adapter was
    /// trained with.
    #[must_use]
    pub fn with_chat(mut self, chat: Chat) -> Self {
        self.chat = Some(chat);
        self
    }

    /// Leaves out what transformers keeps beside the weights, if it has the values of its class.
    fn take_constants(&mut self) -> Result<()> {
        for (name, constant) in self.config.constants() {
            let Some(entry) = self.entries.remove(&name) else {
                continue;
            };
            let file = &self.files[entry.file];
            let stored = TensorView::new(&name, &entry, file.bytes()).to_f32();
            let is_same = |x: &f32| is_rounded(*x, constant);
            if stored.len() != 1 || !stored.iter().all(is_same) {
                let message = format!(
                    "{name} is {stored:?}, only {constant} is supported, as transformers has it"
                );
                return Err(invalid(file.path(), message));
            }
        }
        Ok(())
    }

    /// The same model with a larger vocabulary: the embedding, and a head of its own, get rows behind the files', in memory
    /// and in the files' type.
    ///
    /// # Errors
    /// If it is a GGUF file, its rows are stored in blocks, or the rows are not as many as they should be.
    pub fn with_vocabulary(mut self, added: Vocabulary) -> Result<Self, Error> {
        if self.gguf.is_some() {
            return Err(refuse_gguf(&self.path));
        }
        if added.rows > self.config.vocab_size {
            if self.config.per_layer().is_some() {
                return Err(refuse_per_layer(&self.path));
            }
            let sides = [
                ("model.embed_tokens.weight", &added.embedding),
                ("lm_head.weight", &added.head),
            ];
            for (name, values) in sides {
                let Some(entry) = self.entries.get(name) else {
                    continue; // a tied head
                };
                let view = self.tensor(name)?;
                let enlarged =
                    Enlarged::new(&self.path, (&view, entry), added.rows, values.as_deref())?;
                self.enlarged.insert(name.to_owned(), enlarged);
            }
            self.config.vocab_size = added.rows;
        }
        self.added = Some(added);
        Ok(self)
    }

    /// The same files opened anew, with the same vocabulary.
    ///
    /// # Errors
    /// If they are not what they were.
    pub fn reopened(&self) -> Result<Self, Error> {
        let again = Self::open(&self.path)?;
        match &self.added {
            Some(added) => again.with_vocabulary(added.clone()),
            None => Ok(again),
        }
    }

    /// Every weight of the config is present in its shape, and nothing else is.
    fn check_weights(&self) -> Result<()> {
        let mut expected = self.config.weights();
        for (name, shape) in &expected {
            let Some(entry) = self.entries.get(name) else {
                return Err(invalid(&self.path, format!("tensor {name} is missing"))
                    .hint("is every shard there?"));
            };
            if entry.shape != *shape {
                return Err(invalid(
                    self.files[entry.file].path(),
                    format!(
                        "tensor {name} has shape {:?}, the config calls for {shape:?}",
                        entry.shape
                    ),
                ));
            }
        }
        expected.sort();
        let unknown = self
            .entries
            .keys()
            .find(|n| expected.binary_search_by(|(e, _)| e.cmp(n)).is_err());
        match unknown {
            None => Ok(()),
            Some(name) => Err(invalid(
                self.files[self.entries[name].file].path(),
                format!("tensor {name} has no place in this decoder"),
            )
            .hint("is the config that of another model?")),
        }
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
            Some((name, entry)) => Ok(TensorView::new(name, entry, self.files[entry.file].bytes())),
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
    /// What was added to the vocabulary of the files.
    pub fn added_vocabulary(&self) -> Option<&Vocabulary> {
        self.added.as_ref()
    }
    /// Rows of the vocabulary in the files.
    pub fn file_rows(&self) -> usize {
        let entry = self.entries.get("model.embed_tokens.weight");
        entry.map_or(0, |entry| entry.shape[0])
    }
    /// The mean of the rows that the files have of a weight.
    ///
    /// # Errors
    /// If there is no such weight.
    pub fn mean_row(&self, name: &str) -> Result<Vec<f32>, Error> {
        match self.entries.get_key_value(name) {
            Some((name, entry)) => {
                let bytes = self.files[entry.file].bytes();
                Ok(mean_row(&TensorView::new(name, entry, bytes)))
            }
            None => Err(invalid(&self.path, format!("no tensor {name}"))),
        }
    }
    /// Bytes of weights that are held in memory beside the files: those whose vocabulary was made larger.
    pub fn enlarged_bytes(&self) -> usize {
        self.enlarged.values().map(|own| own.bytes.len()).sum()
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

/// The .gguf files of a folder, sorted.
fn gguf_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io("read", dir))? {
        let path = entry.map_err(io("read", dir))?.path();
        if path.extension().is_some_and(|e| e == "gguf") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
