//! `--slice COLUMN`: the figures for each value of a column.
use crate::figures::Ground;
use crate::inputs::Loaded;
use crate::measured::Measured;
use lora_cli::{Error, Result};
use lora_records::{Slice, SliceModel};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Values that a column may have: more are no slices.
const MOST_VALUES: usize = 50;

/// Refuses a column that is not there or has too many values, before anything is measured.
pub(crate) fn check(columns: &[String], loaded: &Loaded) -> Result<()> {
    for column in columns {
        let values = by_value(column, loaded)?.len();
        if values > MOST_VALUES {
            return Err(Error::new(format!(
                "--slice {column}: {values} different values, at most {MOST_VALUES} are slices"
            ))
            .hint("name a column of categories"));
        }
    }
    Ok(())
}

/// The slices of all columns.
pub(crate) fn slices(
    columns: &[String],
    loaded: &Loaded,
    ground: Ground<'_>,
    models: &[Measured],
) -> Result<Vec<Slice>> {
    let mut slices = Vec::new();
    for column in columns {
        for (value, rows) in by_value(column, loaded)? {
            let prompts: BTreeSet<usize> = rows.iter().map(|&row| ground.prompts[row]).collect();
            let of_model = |model: &Measured| SliceModel {
                name: model.name.clone(),
                metrics: ground.on_slice(model, |row| rows.contains(&row)),
            };
            slices.push(Slice {
                column: column.clone(),
                value,
                rows: rows.len(),
                prompts: prompts.len(),
                models: models.iter().map(of_model).collect(),
            });
        }
    }
    Ok(slices)
}

fn by_value(column: &str, loaded: &Loaded) -> Result<BTreeMap<String, BTreeSet<usize>>> {
    let mut slices: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (row, value) in loaded.column(column)?.iter().enumerate() {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Null => "(none)".to_owned(),
            other => other.to_string(),
        };
        slices.entry(shown).or_default().insert(row);
    }
    Ok(slices)
}
