//! Raw rows of parquet files and of Arrow's files and streams, batch by batch.
use crate::cell::cell;
use crate::error::CUT_OFF;
use crate::pages::ParquetFile;
use crate::parquet_read::ROWS_AT_A_TIME;
use crate::{Error, RawRow, one_line};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// Rows of a file of record batches.
pub(crate) struct ArrowRows {
    path: Arc<Path>,
    what: &'static str,
    batches: Batches,
    ready: VecDeque<Result<RawRow, Error>>,
    rows: usize,
    is_broken: bool,
}

impl ArrowRows {
    /// Of a parquet file.
    pub(crate) fn parquet(path: &Path, file: impl ChunkReader + 'static) -> Result<Self, Error> {
        let what = "parquet file";
        let file = guarded(path, || ParquetFile::open(file))?;
        let file = file.map_err(|error| broken(path, what, &error))?;
        check_codecs(path, file.metadata())?;
        check_schema(path, file.schema())?;
        let reader = guarded(path, || file.batches(None, ROWS_AT_A_TIME))?;
        let reader = reader.map_err(|error| broken(path, what, &error))?;
        Ok(Self::new(path, what, Box::new(reader)))
    }

    /// Of an Arrow file.
    pub(crate) fn file(path: &Path, file: impl Read + Seek + 'static) -> Result<Self, Error> {
        let what = "Arrow file";
        let reader = guarded(path, || FileReader::try_new_buffered(file, None))?;
        let reader = reader.map_err(|error| broken(path, what, &error))?;
        check_schema(path, &reader.schema())?;
        Ok(Self::new(path, what, Box::new(reader)))
    }

    /// Of an Arrow stream.
    pub(crate) fn stream(path: &Path, stream: impl BufRead + 'static) -> Result<Self, Error> {
        let what = "Arrow stream";
        let reader = guarded(path, || StreamReader::try_new(stream, None))?;
        let reader = reader.map_err(|error| broken(path, what, &error))?;
        check_schema(path, &reader.schema())?;
        Ok(Self::new(path, what, Box::new(reader)))
    }

    fn new(path: &Path, what: &'static str, batches: Batches) -> Self {
        Self {
            path: path.into(),
            what,
            batches,
            ready: VecDeque::new(),
            rows: 0,
            is_broken: false,
        }
    }

    /// The rows of the next batch; None at the end.
    fn read(&mut self) -> Result<Option<()>, Error> {
        let batches = &mut self.batches;
        let Some(batch) = guarded(&self.path, || batches.next())? else {
            return Ok(None);
        };
        let batch = batch.map_err(|error| broken(&self.path, self.what, &error))?;
        for row in 0..batch.num_rows() {
            self.rows += 1;
            let place = format!("row {}", self.rows);
            let value = row_of(&batch, row);
            self.ready.push_back(match value {
                Ok(value) => Ok(RawRow {
                    path: self.path.clone(),
                    place,
                    value,
                }),
                Err(what) => Err(Error::invalid(&self.path, format!("{place}, {what}")).hint(
                    "write the file again without this value, or leave such rows out with --on-bad-line skip",
                )),
            });
        }
        Ok(Some(()))
    }
}

impl Iterator for ArrowRows {
    type Item = Result<RawRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.is_broken {
            match self.read() {
                Ok(Some(())) => {}
                Ok(None) => return None,
                Err(error) => {
                    self.is_broken = true;
                    return Some(Err(error.and_all_behind()));
                }
            }
        }
        self.ready.pop_front()
    }
}

fn row_of(batch: &RecordBatch, row: usize) -> Result<Value, String> {
    let schema = batch.schema_ref();
    let pairs = schema.fields().iter().zip(batch.columns());
    let pairs = pairs.map(|(field, column)| {
        let name = field.name();
        let value = cell(column.as_ref(), row)
            .map_err(|kind| format!("column '{name}' is {kind}, which no record holds"))?;
        Ok((name.clone(), value))
    });
    pairs.collect::<Result<_, String>>().map(Value::Object)
}

fn broken(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Error {
    let text = one_line(&error.to_string());
    Error::invalid(path, format!("no readable {what}: {text}")).hint(CUT_OFF)
}

/// Readers of foreign files may panic on hostile bytes; that is an error here.
fn guarded<T>(path: &Path, read: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(read))
        .map_err(|_| Error::invalid(path, "the file is damaged: it can't be decoded"))
}

/// Two columns of one name would be one key, and types that no record holds would say nothing.
fn check_schema(path: &Path, schema: &Schema) -> Result<(), Error> {
    let fields = schema.fields();
    for (at, field) in fields.iter().enumerate() {
        let name = field.name();
        if fields[..at].iter().any(|other| other.name() == name) {
            return Err(Error::invalid(
                path,
                format!("two columns are called '{name}'"),
            ));
        }
        if let Some(kind) = unfit(field) {
            let what = format!("column '{name}' is {kind}, which no record holds");
            return Err(Error::invalid(path, what)
                .hint("write the file again without this column, or with it as text"));
        }
    }
    Ok(())
}

/// A type of a column or of a part of it that can't be a value of JSON.
fn unfit(field: &Field) -> Option<String> {
    match field.data_type() {
        DataType::Union(..) => Some("a union of types".to_owned()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => unfit(item),
        DataType::Struct(fields) => fields.iter().find_map(|field| unfit(field)),
        DataType::Dictionary(_, value) => unfit(&Field::new("", value.as_ref().clone(), true)),
        DataType::RunEndEncoded(_, values) => unfit(values),
        _ => None,
    }
}

/// Codecs that are not read, with the column.
fn check_codecs(path: &Path, metadata: &ParquetMetaData) -> Result<(), Error> {
    let groups = metadata.row_groups().iter();
    for column in groups.flat_map(|group| group.columns()) {
        if column.compression() == Compression::LZO {
            let what = format!(
                "column '{}' is compressed with LZO, which is not read",
                column.column_path().string()
            );
            return Err(Error::invalid(path, what)
                .hint("write the file again with zstd, snappy, gzip, brotli or lz4"));
        }
    }
    Ok(())
}
