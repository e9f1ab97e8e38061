//! A row that was found and is not read yet.
use crate::text_row::{LONGEST, TextRow, too_long};
use crate::{Error, RawRow};
use serde_json::Value;

/// A row that was found and is not read yet: whoever reads it need not be the one who found it.
pub struct UnreadRow(Unread);

pub(crate) enum Unread {
    Text(TextRow),
    /// Of a table, whose values are no JSON.
    Row(RawRow),
}

impl From<Unread> for UnreadRow {
    fn from(row: Unread) -> Self {
        Self(row)
    }
}

impl From<RawRow> for UnreadRow {
    fn from(row: RawRow) -> Self {
        Self(Unread::Row(row))
    }
}

impl UnreadRow {
    /// Reads it.
    ///
    /// # Errors
    /// When the line is no JSON, with its number.
    pub fn read(self) -> Result<RawRow, Error> {
        self.0.read()
    }

    /// Bytes of its text; of a row that is read already, about as many.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Unread::Text(row) => row.len(),
            Unread::Row(row) => bytes(&row.value),
        }
    }
}

impl Unread {
    pub(crate) fn read(self) -> Result<RawRow, Error> {
        match self {
            Self::Text(row) => row.read(),
            Self::Row(row) if bytes(&row.value) > LONGEST => Err(row.error(too_long())),
            Self::Row(row) => Ok(row),
        }
    }
}

fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| key.len() + bytes(value))
            .sum(),
        _ => 4,
    }
}
