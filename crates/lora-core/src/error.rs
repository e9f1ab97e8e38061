//! The crate's one error type.
use std::path::{Path, PathBuf};

/// Why a config, an adapter or a merge failed. Display is one line; the way out, where one is known, is the
/// diagnostic's help.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file that is not what it should be; names file, key or tensor.
    #[error("{path}: {message}")]
    Invalid {
        /// File.
        path: PathBuf,
        /// What is wrong, one line.
        message: String,
        /// What to do about it.
        #[help]
        hint: Option<String>,
    },
    /// A config that can't be honoured on this model.
    #[error("{message}")]
    Config {
        /// What is wrong, one line.
        message: String,
        /// What to do about it.
        #[help]
        hint: Option<String>,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A config that can't be honoured; inside this crate a fault's text may end in a line `hint: …`.
    pub fn config(fault: impl Into<String>) -> Self {
        let (message, hint) = message_and_hint(fault.into());
        Self::Config { message, hint }
    }

    /// A file that is not what it should be; a fault without a hint gets the one that fits the kind of file.
    pub(crate) fn invalid(path: &Path, fault: impl Into<String>) -> Self {
        let (message, hint) = message_and_hint(fault.into());
        Self::Invalid {
            path: path.to_path_buf(),
            message,
            hint: hint.or_else(|| Some(way_out(path).to_owned())),
        }
    }
}

/// Parts what is wrong from what to do about it.
fn message_and_hint(fault: String) -> (String, Option<String>) {
    match fault.split_once("\nhint: ") {
        Some((message, hint)) => (message.to_owned(), Some(hint.trim_end().to_owned())),
        None => (fault, None),
    }
}

/// What to do about a file that is not what its name says.
fn way_out(path: &Path) -> &'static str {
    match path.extension().is_some_and(|e| e == "safetensors") {
        true => "is the file whole, and the adapter_config.json beside it that of this adapter?",
        false => "is this what PEFT, mlx-lm or lora-train wrote? save or copy the adapter again",
    }
}
