//! Tables of somebody else's (CSV, parquet) as JSON rows: columns become keys.
use crate::error::CUT_OFF;
use crate::{Error, one_line};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use polars::prelude::{CsvReadOptions, SerReader};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Cursor;
use std::path::Path;

/// Rows of a CSV file with a header; every value is text.
pub(crate) fn read_csv(path: &Path, bytes: Vec<u8>, separator: u8) -> Result<Vec<Value>, Error> {
    if bytes.trim_ascii().is_empty() {
        return Err(Error::invalid(path, "the file is empty").hint(CUT_OFF));
    }
    if let Err(error) = std::str::from_utf8(&bytes) {
        let line = bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        return Err(
            Error::invalid(path, format!("line {line}: not UTF-8")).hint("save the file as UTF-8")
        );
    }
    let read = move || {
        CsvReadOptions::default()
            .with_has_header(true)
            .with_infer_schema_length(Some(0))
            .map_parse_options(|options| {
                options
                    .with_separator(separator)
                    .with_missing_is_null(false)
            })
            .into_reader_with_file_handle(Cursor::new(bytes))
            .finish()
    };
    let frame = guarded(path, read)?.map_err(|error| {
        // The first line says what is wrong; those below advise on the library's own options.
        let said = error.to_string();
        Error::invalid(
            path,
            format!(
                "no readable CSV: {}",
                one_line(said.lines().next().unwrap_or_default())
            ),
        )
    })?;
    let mut rows = vec![Map::new(); frame.height()];
    for column in frame.columns() {
        let texts = column
            .str()
            .map_err(|error| Error::invalid(path, error.to_string()))?;
        for (row, text) in rows.iter_mut().zip(texts.iter()) {
            row.insert(
                column.name().to_string(),
                text.map_or(Value::Null, Value::from),
            );
        }
    }
    Ok(rows.into_iter().map(Value::Object).collect())
}

/// Rows of a parquet file of raw records (text, numbers, lists and structs).
pub(crate) fn read_parquet(path: &Path, file: File) -> Result<Vec<Value>, Error> {
    let broken = |error: &dyn std::fmt::Display| {
        let what = format!("no readable parquet file: {}", one_line(&error.to_string()));
        Error::invalid(path, what).hint(CUT_OFF)
    };
    let read = move || -> Result<Vec<RecordBatch>, String> {
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
        builder
            .build()
            .map_err(|error| error.to_string())?
            .map(|batch| batch.map_err(|error| error.to_string()))
            .collect()
    };
    let batches =
        guarded(path, std::panic::AssertUnwindSafe(read).0)?.map_err(|error| broken(&error))?;
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let schema = batch.schema();
            let pairs = schema
                .fields()
                .iter()
                .zip(batch.columns())
                .map(|(field, column)| {
                    let unfit = |kind: String| {
                        Error::invalid(
                            path,
                            format!("column '{}' is {kind}, which no record holds", field.name()),
                        )
                    };
                    Ok((
                        field.name().clone(),
                        cell(column.as_ref(), row).map_err(unfit)?,
                    ))
                });
            rows.push(Value::Object(pairs.collect::<Result<_, Error>>()?));
        }
    }
    Ok(rows)
}

/// Readers of foreign files may panic on hostile bytes; that is an error here.
fn guarded<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .map_err(|_| Error::invalid(path, "the file is damaged: it can't be decoded"))
}

/// One value as JSON, or the type that can't be one.
fn cell(column: &dyn Array, row: usize) -> Result<Value, String> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    let list = |items: &dyn Array| {
        (0..items.len())
            .map(|at| cell(items, at))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array)
    };
    Ok(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).into(),
        DataType::Utf8View => column.as_string_view().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => column.as_primitive::<Float32Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::List(_) => list(column.as_list::<i32>().value(row).as_ref())?,
        DataType::LargeList(_) => list(column.as_list::<i64>().value(row).as_ref())?,
        DataType::Struct(fields) => {
            let parts = column.as_struct();
            let pairs = fields
                .iter()
                .zip(parts.columns())
                .map(|(field, part)| Ok((field.name().clone(), cell(part.as_ref(), row)?)));
            Value::Object(pairs.collect::<Result<_, String>>()?)
        }
        // Columns that no record needs (dates, images, dictionaries) are as good as absent.
        _ => Value::Null,
    })
}
