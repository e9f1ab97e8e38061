//! Why a GPU can't be used, or failed.

/// Display is one line; the way out, where one is known, is the diagnostic's help.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum Error {
    /// There is none, or a part of what it needs is not installed.
    #[error("{message}")]
    Unavailable {
        /// What is missing, one line.
        message: String,
        /// What to do about it.
        #[help]
        hint: Option<String>,
    },
    /// Its memory is full.
    #[error("the GPU has no {} left: {} of {} are free", gigabytes(*asked), gigabytes(*free), gigabytes(*total))]
    #[diagnostic(help(
        "a quantised base (GGUF), fewer rows in a batch and shorter ones take less; nvidia-smi lists who holds the rest; --device cpu works without it"
    ))]
    Memory {
        /// Bytes asked for.
        asked: u64,
        /// Bytes free.
        free: u64,
        /// Bytes that it has.
        total: u64,
    },
    /// It refused an operation.
    #[error("the GPU failed to {action}: {message}")]
    Failed {
        /// What was tried.
        action: String,
        /// The driver's answer.
        message: String,
    },
}

/// Bytes for people.
fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 * 1e-9)
}
