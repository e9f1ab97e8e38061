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
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows turned into columns at a time: bounds the copy, not the file's row groups.
const ROWS_AT_A_TIME: usize = 4096;

/// Bytes of memory that a row group may take until it is written.
const GROUP: usize = 64 << 20;

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
        check(&self.examples, 0, file)?;
        let names: Vec<&str> = more.iter().map(|(name, _)| *name).collect();
        let mut writer = SplitWriter::create(file, self, &names)?;
        for (part, rows) in self.examples.chunks(ROWS_AT_A_TIME).enumerate() {
            let first = part * ROWS_AT_A_TIME;
            let values = more
                .iter()
                .map(|(_, values)| &values[first..first + rows.len()]);
            writer.write(rows, &values.collect::<Vec<_>>())?;
        }
        writer.finish()
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

/// Writes a split's file part by part. The same rows in the same parts give the same bytes.
pub struct SplitWriter {
    path: PathBuf,
    schema: Arc<Schema>,
    writer: ArrowWriter<File>,
    rows: usize,
}

impl std::fmt::Debug for SplitWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SplitWriter({})", self.path.display())
    }
}

impl SplitWriter {
    /// Rows that are written at a time, but for the last ones.
    pub const ROWS: usize = ROWS_AT_A_TIME;

    /// Begins a file with what `about` says of a split, whose own rows are not written, and further columns of texts.
    pub fn create(path: &Path, about: &Split, more: &[&str]) -> Result<Self, Error> {
        let out = File::create(path).map_err(Error::io("create", path))?;
        let schema = Arc::new(schema(more));
        let writer = ArrowWriter::try_new(out, schema.clone(), Some(about.properties()))
            .map_err(failed(path))?;
        Ok(Self {
            path: path.to_owned(),
            schema,
            writer,
            rows: 0,
        })
    }

    /// Writes rows, and their values in the further columns. Rows that a reader would refuse are refused here.
    pub fn write(&mut self, rows: &[Example], more: &[&[Option<&str>]]) -> Result<(), Error> {
        check(rows, self.rows, &self.path)?;
        let mut columns = columns(rows);
        for values in more {
            columns.push(Arc::new(StringArray::from_iter(values.iter().copied())));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| Error::invalid(&self.path, error.to_string()))?;
        self.writer.write(&batch).map_err(failed(&self.path))?;
        if self.writer.memory_size() > GROUP {
            self.writer.flush().map_err(failed(&self.path))?;
        }
        self.rows += rows.len();
        Ok(())
    }

    /// Ends the file.
    pub fn finish(self) -> Result<(), Error> {
        let out = self.writer.into_inner().map_err(failed(&self.path))?;
        out.sync_all().map_err(Error::io("sync", &self.path))
    }
}

fn failed(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Error {
    |error| Error::Io {
        action: "write",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    }
}

/// Refuses rows that a reader would refuse; `before` is how many stand before them.
fn check(rows: &[Example], before: usize, file: &Path) -> Result<(), Error> {
    for (row, example) in rows.iter().enumerate() {
        if let Some(mistake) = example.mistake() {
            let place = format!("row {}", before + row + 1);
            return Err(Error::mistake(file, &place, mistake));
        }
    }
    Ok(())
}

/// Schema version 1, with further columns of texts.
fn schema(more: &[&str]) -> Schema {
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
            .map(|name| Field::new(*name, DataType::Utf8, true)),
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
