//! What was made from what: content hashes, receipts and staged outputs. No ML lives here.
//!
//! A finished output always has a receipt: `OUT/receipt.json` in a folder, `FILE.receipt.json` beside a single file.
mod chain;
mod check;
mod digest;
mod hash;
mod host;
mod hub;
pub mod identity;
mod kept;
mod mark;
mod modes;
mod overlap;
mod receipt;
mod remains;
mod replace;
mod staged;
mod stamp;
mod stream;
mod unfinished;

pub use chain::{Found, State, verify};
pub use check::{Change, changed_since};
pub use digest::hash_bytes;
pub use hash::{Hashes, hash_path, keep_hashes_in};
pub use host::peak_rss_bytes;
pub use hub::{HubPlace, name_among, short_name};
pub use identity::{Belonging, Identity, Marks};
pub use overlap::{Overlaps, refuse_overlap};
pub use receipt::{Artefact, Draft, Input, Output, Receipt, receipt_path};
pub use replace::heal;
pub use staged::{Staged, recover};
pub use stream::Hashing;
pub use unfinished::{move_unfinished, partial_path, remove_unfinished};

use std::path::{Path, PathBuf};

/// The receipt format that this version writes. It reads version 1, too, in which a training's rate and memory stood
/// among its results.
pub const VERSION: u32 = 2;
/// File name of the receipt inside an output folder.
pub const FILE_NAME: &str = "receipt.json";

/// Why a receipt, a hash or a staged output failed. Display is one line; the way out, where one is known, is the
/// diagnostic's help.
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
    /// Anything else.
    #[error("{message}")]
    Invalid {
        /// What is wrong, one line.
        message: String,
        /// What to do about it.
        #[help]
        hint: Option<String>,
    },
}

impl Error {
    /// What is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
            hint: None,
        }
    }

    /// The way out.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Invalid { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
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
