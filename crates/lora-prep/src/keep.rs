//! `--keep COLUMN`: columns of the raw rows that stay beside the dataset's own, for slices and further right answers.
use lora_cli::{Error, Result};
use lora_data::{Example, RawRow};
use serde_json::Value;
use std::collections::HashMap;

/// Columns that a dataset has anyway.
const OWN: [&str; 6] = ["input_ids", "labels", "id", "group", "prompt", "completion"];

/// The kept values, by the id of their row.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    columns: Vec<String>,
    by_row: HashMap<String, Vec<Option<String>>>,
}

impl Kept {
    /// Nothing kept yet.
    ///
    /// # Errors
    /// When a name is one of the dataset's own columns, or stands twice.
    pub(crate) fn new(columns: &[String]) -> Result<Self> {
        for (at, name) in columns.iter().enumerate() {
            if OWN.contains(&name.as_str()) {
                return Err(Error::new(format!(
                    "--keep {name}: a dataset has a column of that name"
                ))
                .hint("give the raw rows' column another name"));
            }
            if columns[..at].contains(name) {
                return Err(Error::new(format!("--keep {name} stands twice")));
            }
        }
        Ok(Self {
            columns: columns.to_vec(),
            by_row: HashMap::new(),
        })
    }

    /// Keeps the values of a row that became an example: texts as they are, anything else as its JSON.
    pub(crate) fn see(&mut self, row: &RawRow, example: &Example) {
        if self.columns.is_empty() {
            return;
        }
        let value = |name: &String| match row.value.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let values = self.columns.iter().map(value).collect();
        self.by_row.insert(example.id.clone(), values);
    }

    /// Each column's name and its values for these rows.
    pub(crate) fn columns_of(&self, rows: &[Example]) -> Vec<(&str, Vec<Option<&str>>)> {
        let mut columns: Vec<(&str, Vec<Option<&str>>)> = Vec::new();
        for (at, name) in self.columns.iter().enumerate() {
            let value = |row: &Example| self.by_row.get(&row.id)?.get(at)?.as_deref();
            columns.push((name, rows.iter().map(value).collect()));
        }
        columns
    }

    /// Refuses a column that no row has.
    ///
    /// # Errors
    /// When there is such a column.
    pub(crate) fn check(&self) -> Result<()> {
        for (at, name) in self.columns.iter().enumerate() {
            if !self.by_row.is_empty() && self.by_row.values().all(|values| values[at].is_none()) {
                return Err(
                    Error::new(format!("--keep {name}: no row has such a column"))
                        .hint("columns are named as in the raw rows, and case counts"),
                );
            }
        }
        Ok(())
    }
}
