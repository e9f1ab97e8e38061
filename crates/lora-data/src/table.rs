//! Tables of somebody else's (CSV, parquet) as JSON rows: columns become keys.
use crate::error::CUT_OFF;
use crate::{Error, one_line};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use csv_core::ReadFieldResult;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::fs::File;
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
    let (header, records) = csv_records(path, bytes, separator)?;
    Ok(records
        .into_iter()
        .map(|record| {
            let texts = record.texts.into_iter().map(Value::from);
            Value::Object(header.iter().cloned().zip(texts).collect())
        })
        .collect())
}

/// One record of a CSV file.
struct CsvRecord {
    /// The line that it begins in.
    line: u64,
    texts: Vec<String>,
}

/// The header's names, and the records below it: each has as many values as there are names.
fn csv_records(
    path: &Path,
    mut bytes: Vec<u8>,
    separator: u8,
) -> Result<(Vec<String>, Vec<CsvRecord>), Error> {
    let broken = |message: String| Error::invalid(path, format!("no readable CSV: {message}"));
    // A quote that is never closed would swallow all rows below it, and this last one too.
    bytes.extend_from_slice(b"\n\"\"");
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut records = split_csv(bytes, separator);
    let last = records.pop();
    if let Some(last) = last.filter(|last| last.texts != [""]) {
        let message = format!("line {}: a quote is opened and never closed", last.line);
        return Err(broken(message));
    }
    if records.is_empty() {
        return Err(broken("the header is missing".into()));
    }
    let header = records.remove(0).texts;
    if let Some(at) = (1..header.len()).find(|&at| header[..at].contains(&header[at])) {
        let message = format!("two columns are called '{}'", header[at]);
        return Err(broken(message));
    }
    let uneven = records.iter().find(|one| one.texts.len() != header.len());
    if let Some(CsvRecord { line, texts }) = uneven {
        let (values, columns) = (texts.len(), header.len());
        let message = format!("line {line}: {values} values under a header of {columns} columns");
        let hint = "a value that holds the separator or a line break stands in double quotes";
        return Err(broken(message).hint(hint));
    }
    Ok((header, records))
}

/// The records of bytes that are UTF-8; empty lines are none.
fn split_csv(bytes: &[u8], separator: u8) -> Vec<CsvRecord> {
    let mut reader = csv_core::ReaderBuilder::new().delimiter(separator).build();
    let mut field = vec![0; bytes.len() + 1]; // no field is longer than the file
    let mut filled = 0;
    let mut rest = bytes;
    let mut records = Vec::new();
    let mut line = reader.line();
    let mut texts = Vec::new();
    loop {
        let (result, read, written) = reader.read_field(rest, &mut field[filled..]);
        rest = &rest[read..];
        filled += written;
        match result {
            // Asked again with nothing left, it ends the last field and record.
            ReadFieldResult::InputEmpty => {}
            ReadFieldResult::Field { record_end } => {
                texts.push(String::from_utf8_lossy(&field[..filled]).into_owned());
                filled = 0;
                if record_end {
                    let texts = std::mem::take(&mut texts);
                    records.push(CsvRecord { line, texts });
                    line = reader.line();
                }
            }
            ReadFieldResult::End | ReadFieldResult::OutputFull => return records,
        }
    }
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
            let pairs = fields.iter().zip(parts.columns());
            // All structs of a column have all keys: those that a row had not are null, and no row meant that.
            let pairs = pairs
                .filter(|(_, part)| !part.is_null(row))
                .map(|(field, part)| Ok((field.name().clone(), cell(part.as_ref(), row)?)));
            Value::Object(pairs.collect::<Result<_, String>>()?)
        }
        // Columns that no record needs (dates, images, dictionaries) are as good as absent.
        _ => Value::Null,
    })
}
