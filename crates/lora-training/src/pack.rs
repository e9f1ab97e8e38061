//! Rows of text laid end to end: what a route runs on.
use crate::trainable::RowSize;
use lora_data::Example;
use lora_model::Packed;

/// Lays rows end to end.
pub fn pack(rows: &[&Example]) -> Packed {
    Packed::from_rows(rows.iter().map(|row| (&row.input_ids[..], &row.labels[..])))
}

impl RowSize {
    /// Of a row of text.
    pub fn of(row: &Example) -> Self {
        Self {
            tokens: row.len(),
            supervised: row.supervised(),
        }
    }
}
