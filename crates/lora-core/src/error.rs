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

    /// A config that can't be honoured.
    pub fn config(fault: impl Into<Fault>) -> Self {
        let Fault { message, hint } = fault.into();
        Self::Config { message, hint }
    }

    /// A file that is not what it should be; a fault without a hint gets the one that fits the kind of file.
    pub(crate) fn invalid(path: &Path, fault: impl Into<Fault>) -> Self {
        let Fault { message, hint } = fault.into();
        Self::Invalid {
            path: path.to_path_buf(),
            message,
            hint: hint.or_else(|| Some(way_out(path).to_owned())),
        }
    }
}

/// What is wrong, before it is known where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    message: String,
    hint: Option<String>,
}

impl Fault {
    /// What is wrong, one line.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// The way out.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// This on the line that begins with `what`.
    #[must_use]
    pub(crate) fn behind(self, what: &str) -> Self {
        Self {
            message: format!("{what}{}", self.message),
            ..self
        }
    }

    /// What goes on the same line.
    #[must_use]
    pub(crate) fn before(self, more: &str) -> Self {
        Self {
            message: self.message + more,
            ..self
        }
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
    match path.extension().is_some_and(|e| e == "safetensors") {
        true => "is the file whole, and the adapter_config.json beside it that of this adapter?",
        false => "is this what PEFT, mlx-lm or lora-train wrote? save or copy the adapter again",
    }
}
