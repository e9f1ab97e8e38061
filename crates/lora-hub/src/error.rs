//! Why something of the hub is not here. No message holds a token, or an address beyond its host.
use std::path::{Path, PathBuf};

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something of the hub could not be had. Display is one line; the way out is the diagnostic's help.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The name, the hub's answer, or what lies in the cache.
    #[error("{message}")]
    Refused {
        /// What is wrong, one line.
        message: String,
        /// What to do about it.
        #[help]
        hint: String,
    },
    /// Whoever watches wants no more of it.
    #[error("interrupted")]
    Interrupted,
}

/// What is wrong, and the way out.
pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::Refused {
        message: message.into(),
        hint: hint.into(),
    }
}

/// Turns a system error into [`Error::Io`], naming what was tried on which path.
pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}
