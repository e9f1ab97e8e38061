//! Why data could not be used.
use std::path::{Path, PathBuf};

/// The hint of a file that is no whole parquet file.
pub(crate) const CUT_OFF: &str = "\nhint: was the download or the copy cut off?";

/// Why data could not be used. Display is one line, with `\nhint: …` where a way out is known.
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
    /// A file that is not what it should be; names file, line or column.
    #[error("{path}: {message}")]
    Invalid {
        /// File.
        path: PathBuf,
        /// What is wrong, one line.
        message: String,
    },
}

impl Error {
    /// What is wrong with a file.
    pub(crate) fn invalid(path: &Path, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if !message.contains("\nhint: ") {
            message = format!("{message}\nhint: {}", way_out(path));
        }
        Self::Invalid {
            path: path.to_owned(),
            message,
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
