//! The crate's one error type.
use std::path::{Path, PathBuf};

/// Why a config, an adapter or a merge failed. Display is one line, with `\nhint: …` where a way out is known.
#[derive(Debug, thiserror::Error)]
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
    },
    /// A config that can't be honoured on this model.
    #[error("{0}")]
    Config(String),
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

    pub(crate) fn invalid(path: &Path, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if !message.contains("\nhint: ") {
            message = format!("{message}\nhint: {}", way_out(path));
        }
        Self::Invalid {
            path: path.to_path_buf(),
            message,
        }
    }
}

/// What to do about a file that is not what its name says.
fn way_out(path: &Path) -> &'static str {
    match path.extension().is_some_and(|e| e == "safetensors") {
        true => "is the file whole, and the adapter_config.json beside it that of this adapter?",
        false => "is this what PEFT, mlx-lm or lora-train wrote? save or copy the adapter again",
    }
}
