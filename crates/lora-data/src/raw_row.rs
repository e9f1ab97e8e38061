//! One row as it came, before anybody says what it means.
use crate::Error;
use crate::error::Mistake;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// One raw row and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub struct RawRow {
    /// File, or `stdin`.
    pub path: Arc<Path>,
    /// `line 12` of JSON lines, `row 12` of a table or array, both from 1.
    pub place: String,
    /// The row.
    pub value: Value,
}

impl RawRow {
    /// `raw.jsonl: line 12`.
    pub fn place(&self) -> String {
        format!("{}: {}", self.path.display(), self.place)
    }

    /// An error about this row.
    pub fn error(&self, mistake: Mistake) -> Error {
        Error::mistake(&self.path, &self.place, mistake)
    }
}
