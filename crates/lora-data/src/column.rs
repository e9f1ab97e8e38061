//! One column of a dataset file beside those of the schema, as JSON values: what a row is sliced by or held against.
use crate::cell::cell;
use crate::error::CUT_OFF;
use crate::pages::ParquetFile;
use crate::parquet_read::{ROWS_AT_A_TIME, split_file};
use crate::{Error, one_line};
use serde_json::Value;
use std::fs::File;
use std::path::Path;

/// Reads one column of `DIR/NAME.parquet`, or of a parquet file itself: texts, numbers, true and false, lists of these; null
/// where a row has no value.
///
/// # Errors
/// When there is no such column (with those that there are), or when it is of a type that no record holds.
pub fn read_column(path: &Path, name: &str, column: &str) -> Result<Vec<Value>, Error> {
    let file = if path.is_dir() {
        split_file(path, name)?
    } else {
        path.to_owned()
    };
    // As in `Split::read`: whatever the parquet crate does with hostile bytes is an error here.
    std::panic::catch_unwind(|| read(&file, column)).unwrap_or_else(|_| {
        Err(Error::invalid(
            &file,
            "the file is damaged: it can't be decoded",
        ))
    })
}

fn read(path: &Path, column: &str) -> Result<Vec<Value>, Error> {
    let broken = |error: &dyn std::fmt::Display| {
        let what = format!("no readable parquet file: {}", one_line(&error.to_string()));
        Error::invalid(path, what).hint(CUT_OFF)
    };
    let file = File::open(path).map_err(Error::io("open", path))?;
    let file = ParquetFile::open(file).map_err(|error| broken(&error))?;
    if file.schema().field_with_name(column).is_err() {
        let fields = file.schema().fields().iter();
        let found: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        let what = format!(
            "column '{column}' is missing; the columns are: {}",
            found.join(", ")
        );
        return Err(Error::invalid(path, what).hint(format!(
            "lora-prep --keep {column} keeps it from the raw rows"
        )));
    }
    let reader = file.batches(Some(&[column]), ROWS_AT_A_TIME);
    let reader = reader.map_err(|error| broken(&error))?;
    let mut values = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| broken(&error))?;
        for row in 0..batch.num_rows() {
            let value = cell(batch.column(0).as_ref(), row).map_err(|kind| {
                let what = format!("column '{column}' is {kind}, which no record holds");
                Error::invalid(path, what)
            })?;
            values.push(value);
        }
    }
    Ok(values)
}
