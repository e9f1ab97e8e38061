//! Writes one split as parquet, schema version 1. The same rows give the same bytes.
use crate::{
    Error, Example, KEY_SCHEMA, KEY_SYSTEM, KEY_TEMPLATE, KEY_TEMPLATE_SOURCE, KEY_TOKENIZER,
    SCHEMA_VERSION, Split,
};
use arrow::array::{ArrayRef, Int32Builder, ListBuilder, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Rows turned into columns at a time: bounds the copy, not the file's row groups.
const ROWS_AT_A_TIME: usize = 4096;

impl Split {
    /// Writes one parquet file with the schema's key-value metadata. Rows that a reader would refuse are refused here.
    pub fn write(&self, file: &Path) -> Result<(), Error> {
        self.write_with(file, &[])
    }

    /// As [`Split::write`], with further columns of texts, a value a row.
    ///
    /// # Errors
    /// As for [`Split::write`], and when a column has another number of values than there are rows.
    pub fn write_with(&self, file: &Path, more: &[(&str, Vec<Option<&str>>)]) -> Result<(), Error> {
        let rows = self.examples.len();
        if let Some((name, values)) = more.iter().find(|(_, values)| values.len() != rows) {
            let what = format!(
                "column '{name}' has {} values for {rows} rows",
                values.len()
            );
            return Err(Error::invalid(file, what));
        }
        for (row, example) in self.examples.iter().enumerate() {
            if let Some(mistake) = example.mistake() {
                let place = format!("row {}", row + 1);
                return Err(Error::mistake(file, &place, mistake));
            }
        }
        let failed = |error: parquet::errors::ParquetError| Error::Io {
            action: "write",
            path: file.to_owned(),
            source: std::io::Error::other(error),
        };
        let out = File::create(file).map_err(Error::io("create", file))?;
        let schema = Arc::new(schema(more));
        let mut writer =
            ArrowWriter::try_new(&out, schema.clone(), Some(self.properties())).map_err(failed)?;
        for (part, rows) in self.examples.chunks(ROWS_AT_A_TIME).enumerate() {
            let mut columns = columns(rows);
            for (_, values) in more {
                let first = part * ROWS_AT_A_TIME;
                let values = values[first..first + rows.len()].iter().copied();
                columns.push(Arc::new(StringArray::from_iter(values)));
            }
            let batch = RecordBatch::try_new(schema.clone(), columns)
                .map_err(|error| Error::invalid(file, error.to_string()))?;
            writer.write(&batch).map_err(failed)?;
        }
        writer.close().map_err(failed)?;
        out.sync_all().map_err(Error::io("sync", file))
    }

    fn properties(&self) -> WriterProperties {
        let mut pairs = vec![KeyValue::new(
            KEY_SCHEMA.to_owned(),
            SCHEMA_VERSION.to_string(),
        )];
        let chat = self.chat.as_ref();
        for (key, value) in [
            (KEY_TOKENIZER, self.tokenizer_sha256.as_ref()),
            (KEY_TEMPLATE, self.template_sha256.as_ref()),
            (KEY_TEMPLATE_SOURCE, chat.and_then(|c| c.template.as_ref())),
            (KEY_SYSTEM, chat.and_then(|c| c.system.as_ref())),
        ] {
            pairs.extend(
                value
                    .cloned()
                    .map(|value| KeyValue::new(key.to_owned(), value)),
            );
        }
        WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(pairs))
            .build()
    }
}

/// Schema version 1, with further columns of texts.
fn schema(more: &[(&str, Vec<Option<&str>>)]) -> Schema {
    let ids = |name| Field::new_list(name, Field::new("item", DataType::Int32, false), false);
    let text = |name| Field::new(name, DataType::Utf8, false);
    let mut fields = vec![
        ids("input_ids"),
        ids("labels"),
        text("id"),
        text("group"),
        text("prompt"),
        text("completion"),
    ];
    fields.extend(
        more.iter()
            .map(|(name, _)| Field::new(*name, DataType::Utf8, true)),
    );
    Schema::new(fields)
}

fn columns(rows: &[Example]) -> Vec<ArrayRef> {
    let text = |of: fn(&Example) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    vec![
        list(
            rows.iter()
                .map(|row| row.input_ids.iter().map(|id| id.cast_signed()).collect()),
        ),
        list(rows.iter().map(|row| row.labels.clone())),
        text(|row| &row.id),
        text(|row| &row.group),
        text(|row| &row.prompt),
        text(|row| &row.completion),
    ]
}

fn list(rows: impl Iterator<Item = Vec<i32>>) -> ArrayRef {
    let mut builder = ListBuilder::new(Int32Builder::new()).with_field(Field::new(
        "item",
        DataType::Int32,
        false,
    ));
    for row in rows {
        builder.values().append_slice(&row);
        builder.append(true);
    }
    Arc::new(builder.finish())
}
