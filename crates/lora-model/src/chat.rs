//! How the chats of an adapter's training rows were written, and with which chats a base with adapters is served.
use crate::identity::run_of;
use lora_checkpoint::gguf::GgufFile;
use lora_checkpoint::{Chat, Error, shown};
use lora_receipt::Receipt;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Any of these in an adapter's folder says that its tokenizer was saved with it.
const TOKENIZER_FILES: [&str; 3] = [
    "tokenizer.json",
    "tokenizer_config.json",
    Chat::TEMPLATE_FILE,
];

/// How the rows that an adapter was trained on are written, by the tokenizer files in its folder (of a checkpoint: its
/// run's) or by its GGUF file's metadata; None if nothing tells. That there was no template is known of our own adapters
/// only: other tools may have left the file out.
///
/// # Errors
/// If a file can't be read.
pub fn trained_chat(adapter: &Path) -> Result<Option<Chat>, Error> {
    let inside = adapter.join("adapter.gguf");
    if adapter.is_file() || inside.is_file() {
        let file = GgufFile::open(if adapter.is_file() { adapter } else { &inside })?;
        let chat = Chat::of_metadata(|key| file.metadata(key));
        return Ok(chat.template.is_some().then_some(chat));
    }
    let Some(folder) = tokenizer_folder(adapter) else {
        return Ok(None);
    };
    let chat = Chat::of_folder(folder)?;
    let is_recorded = || Receipt::load(folder).is_ok_and(|r| r.results[RESULT].is_object());
    Ok((chat.template.is_some() || is_recorded()).then_some(chat))
}

/// The folder with the tokenizer that was saved with an adapter: its own, or of a checkpoint its run's.
pub fn tokenizer_folder(adapter: &Path) -> Option<&Path> {
    let has_tokenizer = |folder: &&Path| {
        let mut files = TOKENIZER_FILES.into_iter();
        files.any(|name| folder.join(name).is_file())
    };
    let mut folders = std::iter::once(adapter).chain(run_of(adapter));
    folders.find(has_tokenizer)
}

/// What is said of an adapter on rows that are written in another way than those it was trained on; None if they are not.
/// That it was trained without one system text for all rows says nothing against rows that have one.
pub fn trained_otherwise(adapter: &Path, trained: &Chat, rows: &Chat) -> Option<String> {
    let same_system = trained.system.is_none() || trained.system == rows.system;
    let same_template = trained.template_sha256() == rows.template_sha256();
    (!same_system || !same_template).then(|| {
        format!(
            "{} was trained with {}, and these rows are written with {}",
            adapter.display(),
            trained.describe(),
            rows.describe()
        )
    })
}

/// Field of a receipt's results that says which chats go with the output.
const RESULT: &str = "chat";

/// The field `chat` of the results of an output that has these chats; `of` says where they are from.
pub fn chat_result(chat: &Chat, of: &str) -> Value {
    json!({"template_sha256": chat.template_sha256(), "system": chat.system, "of": of})
}

/// The chats that a base with adapters on it is served with: those of the adapters' training rows, else the base's own.
#[derive(Debug, Clone)]
pub struct Served {
    /// How they are written.
    pub chat: Chat,
    /// The adapter whose they are; None if they are the base's own.
    pub adapter: Option<PathBuf>,
    /// What the adapter was trained with and the base has, if that is not the same: the start of a line.
    pub difference: Option<String>,
    /// Lines on adapters of which nothing is known.
    pub notes: Vec<String>,
    /// Lines on adapters that were trained in different ways.
    pub warnings: Vec<String>,
}

impl Served {
    /// Chooses: the first adapter of which something is known decides, else the base, whose chats are `own` (None without
    /// a base).
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn of(own: Option<Chat>, adapters: &[PathBuf]) -> Result<Self, Error> {
        let has_base = own.is_some();
        let mut served = Self {
            chat: own.unwrap_or_default(),
            adapter: None,
            difference: None,
            notes: Vec::new(),
            warnings: Vec::new(),
        };
        let mut unknown = Vec::new();
        for path in adapters {
            match (trained_chat(path)?, &served.adapter) {
                (None, _) => unknown.push(path.display()),
                (Some(chat), None) => served.take(path, chat, has_base),
                (Some(chat), Some(_)) if chat.is_like(&served.chat) => {}
                (Some(chat), Some(first)) => served.warnings.push(format!(
                    "{} was trained with {}, {} with {}: the latter is what the output has",
                    path.display(),
                    chat.describe(),
                    first.display(),
                    served.chat.describe()
                )),
            }
        }
        if served.chat != Chat::default() {
            let kept = served.chat.describe();
            let note = |path| {
                format!(
                    "{path} does not say which chat template it was trained with; the output has {kept}"
                )
            };
            served.notes = unknown.into_iter().map(note).collect();
        }
        Ok(served)
    }

    fn take(&mut self, path: &Path, chat: Chat, has_base: bool) {
        if has_base && !chat.is_like(&self.chat) {
            self.difference = Some(format!(
                "{} was trained with {}, and its base has {}",
                path.display(),
                chat.describe(),
                self.chat.describe()
            ));
        }
        self.chat = chat;
        self.adapter = Some(path.to_path_buf());
    }

    /// A line on the system text, if there is one: `place` says where it is.
    pub fn system_note(&self, place: &str) -> Option<String> {
        self.chat.system.as_deref().map(|text| {
            format!(
                "trained with the system text {}: {place}, for chats that bring none",
                shown(text)
            )
        })
    }

    /// The field `chat` of the results in the output's receipt.
    pub fn result(&self) -> Value {
        let of = if self.adapter.is_some() {
            "adapter"
        } else {
            "base"
        };
        chat_result(&self.chat, of)
    }
}
