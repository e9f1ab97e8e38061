//! Why a record could not be read or written.
use std::path::PathBuf;

/// Why a record could not be read or written.
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
    /// A line is not what the tool writes.
    #[error("{path}, line {line}: {reason}")]
    #[diagnostic(help("expected the lines that {writer} writes"))]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
        /// The tool that writes such files.
        writer: &'static str,
    },
    /// The file as a whole is not what the tool writes.
    #[error("{path}: {reason}")]
    #[diagnostic(help("make it again with this release's {writer}"))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The tool that writes such files.
        writer: &'static str,
    },
}
