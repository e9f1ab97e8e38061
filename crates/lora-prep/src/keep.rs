//! `--keep COLUMN`: columns of the raw rows that stay beside the dataset's own, for slices and further right answers.
use lora_cli::{Error, Result};
use lora_data::RawRow;
use serde_json::Value;

/// Columns that a dataset has anyway.
const OWN: [&str; 6] = ["input_ids", "labels", "id", "group", "prompt", "completion"];

/// The columns that are kept.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<String>);

impl Kept {
    /// The columns of these names.
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
        Ok(Self(columns.to_vec()))
    }

    /// The values of a row: texts as they are, anything else as its JSON.
    pub(crate) fn values(&self, row: &RawRow) -> Vec<Option<String>> {
        let value = |name: &String| match row.value.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        self.0.iter().map(value).collect()
    }
}

/// Refuses a column that no row has, if there are rows.
///
/// # Errors
/// When there is such a column.
pub(crate) fn check(columns: &[String], has: &[bool]) -> Result<()> {
    match columns.iter().zip(has).find(|(_, has)| !**has) {
        None => Ok(()),
        Some((name, _)) => Err(
            Error::new(format!("--keep {name}: no row has such a column"))
                .hint("columns are named as in the raw rows, and case counts"),
        ),
    }
}
