//! The one error type of this crate, and short ways to make it.
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be read or written. Display is one line; the way out, where one is known, is the
/// diagnostic's help.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file that is not what it should be; names file, key or tensor.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// File.
        path: PathBuf,
        /// What is wrong, one line.
        message: String,
        /// What to do about it.
        #[help]
        hint: Option<String>,
    },
}

impl Error {
    /// The way out.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Invalid { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }
}

/// Result of this crate's work.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An [`Error::Invalid`] about a file. A fault without a hint gets the one that fits the kind of file.
pub(crate) fn invalid(path: &Path, fault: impl Into<Fault>) -> Error {
    let Fault { message, hint } = fault.into();
    Error::Invalid {
        path: path.to_path_buf(),
        message,
        hint: hint.or_else(|| Some(way_out(path).to_owned())),
    }
}

/// What is wrong and what to do about it, before anybody has said in which file.
#[derive(Debug)]
pub(crate) struct Fault {
    message: String,
    hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// The way out.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where in the file.
    pub(crate) fn at(mut self, place: impl std::fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

/// What to do about a file that is not what its name says.
fn way_out(path: &Path) -> &'static str {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        "config.json" | "generation_config.json" => {
            "compare it with the file that the model was published with"
        }
        _ if name.ends_with(".gguf") => "is the file whole? download or convert the model again",
        _ if name.ends_with(".safetensors") => {
            "is the file whole, and the config.json beside it that of this model?"
        }
        _ if name.ends_with(".json") || name.ends_with(".jinja") => {
            "is the file whole? download it again"
        }
        _ => "name a Hugging Face model folder or a GGUF file",
    }
}

/// For `map_err`: the operating system refused `action` on `path`.
pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}
