//! Why data could not be used.
use std::path::{Path, PathBuf};

/// The hint of a file that is no whole parquet file.
pub(crate) const CUT_OFF: &str = "was the download or the copy cut off?";

/// Why data could not be used. Display is one line; the way out is the diagnostic's help.
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
    /// A file that is not what it should be; names file, line or column.
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
    /// The same of a file of which nothing can be read behind this place: what is lost is more than a row.
    #[error("{path}: {message}")]
    Lost {
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
    /// What is wrong with a file. The hint is the one that fits the kind of file, until [`hint`](Self::hint).
    pub(crate) fn invalid(path: &Path, message: impl Into<String>) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            message: message.into(),
            hint: Some(way_out(path).to_owned()),
        }
    }

    /// A mistake at a place in a file.
    pub(crate) fn mistake(path: &Path, place: &str, mistake: Mistake) -> Self {
        let error = Self::invalid(path, format!("{place}: {}", mistake.message));
        match mistake.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// The way out.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Invalid { hint, .. } | Self::Lost { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Behind it nothing can be read.
    #[must_use]
    pub(crate) fn and_all_behind(self) -> Self {
        match self {
            Self::Invalid {
                path,
                message,
                hint,
            } => Self::Lost {
                path,
                message,
                hint,
            },
            other => other,
        }
    }

    /// The system refused something, as a closure for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// What to do about a file that is not what its name says.
fn way_out(path: &Path) -> &'static str {
    let dataset = path.is_dir() || path.file_name().is_some_and(|name| name == "dataset.json");
    match dataset || path.extension().is_some_and(|e| e == "parquet") {
        true => "prepare the data again with lora-prep",
        false => "lora-prep --help names the kinds of rows and files",
    }
}

/// What is wrong with one row, and what to do about it, before anybody has said in which file and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
