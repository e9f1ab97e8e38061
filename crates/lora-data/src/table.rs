//! Tables in text (CSV, TSV) as JSON rows: columns become keys.
use crate::Error;
use crate::error::CUT_OFF;
use csv_core::ReadFieldResult;
use serde_json::Value;
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
