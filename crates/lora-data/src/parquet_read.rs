//! Reads one split from parquet, strictly: whatever is not a dataset is an error that names file, row and column.
use crate::error::CUT_OFF;
use crate::pages::ParquetFile;
use crate::{
    Error, Example, KEY_SCHEMA, KEY_SYSTEM, KEY_TEMPLATE, KEY_TEMPLATE_SOURCE, KEY_TOKENIZER,
    SCHEMA_VERSION, Split, one_line,
};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema};
use lora_checkpoint::Chat;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Rows decoded at a time.
pub(crate) const ROWS_AT_A_TIME: usize = 1024;

impl Split {
    /// Reads `DIR/NAME.parquet`, or a parquet file itself; a plain parquet with only `input_ids` and `labels` is
    /// accepted (the other fields are then empty).
    pub fn read(path: &Path, name: &str) -> Result<Self, Error> {
        let file = if path.is_dir() {
            split_file(path, name)?
        } else {
            path.to_owned()
        };
        // The parquet crate may panic on hostile bytes; whatever happens inside it is an error here.
        std::panic::catch_unwind(|| read_file(&file)).unwrap_or_else(|_| {
            Err(Error::invalid(
                &file,
                "the file is damaged: it can't be decoded",
            ))
        })
    }
}

/// The name of the split that is read: of a folder the one asked for; a dataset that is one file has one, by the file's name.
///
/// # Errors
/// When a split of one file was asked for that is neither its own nor `default`.
pub fn split_name(data: &Path, asked: &str, default: &str) -> Result<String, Error> {
    let stem = data.file_stem().filter(|_| data.is_file());
    let Some(stem) = stem.map(|stem| stem.to_string_lossy()) else {
        return Ok(asked.to_owned());
    };
    if asked != default && asked != stem {
        let what = format!("it is one file, of which --split {asked} chooses nothing");
        return Err(Error::invalid(data, what)
            .hint("leave --split out, or name the folder that holds the splits"));
    }
    Ok(stem.into_owned())
}

/// `DIR/NAME.parquet`, or an error that lists the splits that are there.
pub(crate) fn split_file(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let file = folder.join(format!("{name}.parquet"));
    if file.is_file() {
        return Ok(file);
    }
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .map_err(Error::io("read", folder))?
        .filter_map(|entry| {
            Some(
                entry
                    .ok()?
                    .file_name()
                    .to_str()?
                    .strip_suffix(".parquet")?
                    .to_owned(),
            )
        })
        .collect();
    found.sort();
    let hint = if found.is_empty() {
        "a dataset folder is made by lora-prep".to_owned()
    } else {
        format!("splits here: {}", found.join(", "))
    };
    Err(Error::invalid(folder, format!("no split '{name}' ({name}.parquet)")).hint(hint))
}

/// True for a name that raw rows have.
fn is_raw(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(
        ending,
        Some("jsonl" | "json" | "csv" | "tsv" | "arrow" | "txt" | "gz" | "zst" | "xz")
    )
}

fn read_file(path: &Path) -> Result<Split, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let broken = |error: &dyn std::fmt::Display| {
        let what = format!("no readable parquet file: {}", one_line(&error.to_string()));
        let hint = match is_raw(path) {
            true => {
                "are these raw rows? lora-prep makes a dataset of them: lora-prep RAW --base MODEL --out DIR"
            }
            false => CUT_OFF,
        };
        Error::invalid(path, what).hint(hint)
    };
    if file.metadata().map_err(Error::io("read", path))?.len() == 0 {
        return Err(Error::invalid(path, "the file is empty").hint(CUT_OFF));
    }
    let file = ParquetFile::open(file).map_err(|error| broken(&error))?;
    let value = |key: &str| -> Option<String> {
        let pairs = file.metadata().file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.clone()
    };
    let version = value(KEY_SCHEMA);
    if let Some(version) = version
        .as_deref()
        .filter(|version| *version != SCHEMA_VERSION.to_string())
    {
        return Err(Error::invalid(
            path,
            format!("{KEY_SCHEMA} is {version:?}, but only {SCHEMA_VERSION} is known"),
        )
        .hint("it was made by a newer lora-prep; prepare it again or update"));
    }
    let tokenizer_sha256 = value(KEY_TOKENIZER);
    let template_sha256 = value(KEY_TEMPLATE);
    let chat = Chat {
        template: value(KEY_TEMPLATE_SOURCE),
        system: value(KEY_SYSTEM),
    };
    // Without a tokenizer's fingerprint rows are ids of unknown origin: that they have no template says nothing.
    let is_told = tokenizer_sha256.is_some() || chat != Chat::default();
    let chat = match (&version, chat.template_sha256() == template_sha256) {
        (None, _) => None,
        (Some(_), true) => is_told.then_some(chat),
        // Datasets of before hold only the template's hash.
        (Some(_), false) if chat.template.is_none() => None,
        (Some(_), false) => {
            let what = format!("{KEY_TEMPLATE_SOURCE} is not the template of {KEY_TEMPLATE}");
            return Err(Error::invalid(path, what));
        }
    };
    let columns = Columns::of(version.is_some());
    columns.check(file.schema(), path)?;
    let reader = file.batches(Some(columns.names), ROWS_AT_A_TIME);
    let reader = reader.map_err(|error| broken(&error))?;
    let mut examples = Vec::new();
    for batch in reader {
        columns.read(&batch.map_err(|error| broken(&error))?, path, &mut examples)?;
    }
    if examples.is_empty() {
        return Err(Error::invalid(path, "the file has no rows"));
    }
    Ok(Split {
        examples,
        tokenizer_sha256,
        template_sha256,
        chat,
    })
}

/// The columns that are read: two of a plain parquet, six of schema version 1.
struct Columns {
    names: &'static [&'static str],
}

impl Columns {
    fn of(with_text: bool) -> Self {
        const ALL: [&str; 6] = ["input_ids", "labels", "id", "group", "prompt", "completion"];
        Self {
            names: if with_text {
                &ALL
            } else {
                const { ALL.split_at(2).0 }
            },
        }
    }

    /// Every column is there with a type that it may have.
    fn check(&self, schema: &Schema, path: &Path) -> Result<(), Error> {
        for (at, name) in self.names.iter().enumerate() {
            let Ok(field) = schema.field_with_name(name) else {
                let found: Vec<&str> = schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect();
                return Err(Error::invalid(
                    path,
                    format!(
                        "column '{name}' is missing; the columns are: {}",
                        found.join(", ")
                    ),
                )
                .hint("a dataset has input_ids and labels; lora-prep makes one from raw records"));
            };
            let (fits, wanted) = if at < 2 {
                (is_id_list(field.data_type()), "a list of int32 or int64")
            } else {
                (is_text(field.data_type()), "a string")
            };
            if !fits {
                return Err(Error::invalid(
                    path,
                    format!("column '{name}' is {}, not {wanted}", field.data_type()),
                ));
            }
        }
        Ok(())
    }

    /// Appends the rows of one batch.
    fn read(
        &self,
        batch: &RecordBatch,
        path: &Path,
        examples: &mut Vec<Example>,
    ) -> Result<(), Error> {
        let first = examples.len();
        let cell = |name: &'static str, row: usize| -> Result<Cell<'_>, Error> {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| Error::invalid(path, format!("column '{name}' is missing")))?;
            Ok(Cell {
                column,
                name,
                row,
                place: first + row + 1,
                path,
            })
        };
        for row in 0..batch.num_rows() {
            let text = |name: &'static str| match self.names.contains(&name) {
                true => cell(name, row)?.text(),
                false => Ok(String::new()),
            };
            let ids = cell("input_ids", row)?;
            let input_ids = ids
                .integers()?
                .into_iter()
                .enumerate()
                .map(|(at, id)| ids.token_id(at, id))
                .collect::<Result<_, _>>()?;
            let marks = cell("labels", row)?;
            let labels = marks
                .integers()?
                .into_iter()
                .enumerate()
                .map(|(at, label)| marks.label(at, label))
                .collect::<Result<_, _>>()?;
            let example = Example {
                input_ids,
                labels,
                id: text("id")?,
                group: text("group")?,
                prompt: text("prompt")?,
                completion: text("completion")?,
            };
            if let Some(mistake) = example.mistake() {
                let place = format!("row {}", first + row + 1);
                return Err(Error::mistake(path, &place, mistake));
            }
            examples.push(example);
        }
        Ok(())
    }
}

/// One value of one row, and how to name it.
struct Cell<'a> {
    column: &'a ArrayRef,
    name: &'static str,
    row: usize,
    /// Row number in the file, from 1.
    place: usize,
    path: &'a Path,
}

impl Cell<'_> {
    fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::invalid(
            self.path,
            format!("row {}, column '{}': {what}", self.place, self.name),
        )
    }

    fn integers(&self) -> Result<Vec<i64>, Error> {
        if self.column.is_null(self.row) {
            return Err(self.fault("the value is null"));
        }
        let list = match self.column.data_type() {
            DataType::LargeList(_) => self.column.as_list::<i64>().value(self.row),
            _ => self.column.as_list::<i32>().value(self.row),
        };
        if list.null_count() > 0 {
            return Err(self.fault("a null stands in the list"));
        }
        Ok(match list.data_type() {
            DataType::Int64 => list.as_primitive::<Int64Type>().values().to_vec(),
            _ => list
                .as_primitive::<Int32Type>()
                .values()
                .iter()
                .copied()
                .map(i64::from)
                .collect(),
        })
    }

    fn token_id(&self, at: usize, id: i64) -> Result<u32, Error> {
        i32::try_from(id)
            .ok()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| self.fault(format_args!("value {at} is {id}, which is no token id")))
    }

    fn label(&self, at: usize, label: i64) -> Result<i32, Error> {
        i32::try_from(label)
            .map_err(|_| self.fault(format_args!("value {at} is {label}, which is no label")))
    }

    fn text(&self) -> Result<String, Error> {
        if self.column.is_null(self.row) {
            return Err(self.fault("the value is null"));
        }
        Ok(match self.column.data_type() {
            DataType::LargeUtf8 => self.column.as_string::<i64>().value(self.row).to_owned(),
            DataType::Utf8View => self.column.as_string_view().value(self.row).to_owned(),
            _ => self.column.as_string::<i32>().value(self.row).to_owned(),
        })
    }
}

fn is_id_list(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) | DataType::LargeList(item) => {
            matches!(item.data_type(), DataType::Int32 | DataType::Int64)
        }
        _ => false,
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}
