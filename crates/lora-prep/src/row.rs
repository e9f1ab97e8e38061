//! What a worker makes of raw rows: read, recognised, encoded, or a reason why not. It knows of no other rows.
use crate::Args;
use crate::keep::Kept;
use crate::mixture;
use crate::model::Model;
use crate::read::{Found, SourceRow};
use crate::stored::{Batch, Packed, Stored};
use lora_cli::{Error, Result};
use lora_data::{
    Belonging, Content, Encoded, Encoder, Example, Fault, Key, Learn, RawRow, Reading, Record,
    Refusal, SplitName, watch_over,
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a row from which on no other such row is worked on at the same time: of each byte come many.
const LARGE: usize = 1 << 20;

/// What rows are made with.
pub(crate) struct Worker {
    args: Args,
    pub(crate) model: Model,
    reading: Reading,
    learn: Learn,
    kept: Kept,
    large: Mutex<()>,
    /// Keys of --ignore that some row has.
    ignored: Mutex<BTreeSet<String>>,
}

/// What became of a batch of rows.
pub(crate) struct Made {
    pub(crate) rows: Vec<Worked>,
    /// Those that were encoded.
    pub(crate) stored: Result<Packed>,
}

/// What became of a row.
pub(crate) struct Worked {
    pub(crate) source: usize,
    /// Its split, where files bring their own.
    pub(crate) split: Option<SplitName>,
    pub(crate) place: Place,
    /// Keys that are not read.
    pub(crate) unused: Vec<String>,
    /// Renderings of it that took too much.
    pub(crate) excesses: usize,
    pub(crate) outcome: Outcome,
}

/// Where a row stood.
#[derive(Default)]
pub(crate) struct Place(Option<(Arc<Path>, String)>);

/// A row that was encoded, or why there is none.
pub(crate) enum Outcome {
    Row(Box<Row>),
    Refused(String),
    /// It was not read, and may be left out.
    Bad(lora_data::Error),
    /// The run can't go on after it.
    Fatal(Error),
}

/// What is asked of a row beside what is stored of it.
pub(crate) struct Row {
    /// Hash of prompt and completion: two rows that have them in common are the same row.
    pub(crate) fingerprint: Key,
    /// An error if it lacks the user's own key.
    pub(crate) belonging: Result<Belonging>,
    /// Keys of its messages that the template has no word of.
    pub(crate) unread: Vec<String>,
    pub(crate) notes: Vec<String>,
    /// The system text that it is written with.
    pub(crate) system: Option<Option<String>>,
    /// What it gives the template.
    pub(crate) arguments: Option<Map<String, Value>>,
    /// Its number in the draw of a mixture.
    pub(crate) number: f64,
    /// Which of the kept columns it has.
    pub(crate) has: Vec<bool>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some((path, place)) => write!(f, "{}: {place}", path.display()),
            None => Ok(()),
        }
    }
}

impl Worker {
    pub(crate) fn new(args: &Args, model: Model) -> Result<Self> {
        Ok(Self {
            args: args.clone(),
            model,
            reading: args.reading(),
            learn: args.rules().learn,
            kept: Kept::new(&args.keep)?,
            large: Mutex::new(()),
            ignored: Mutex::default(),
        })
    }

    pub(crate) fn threads(&self) -> usize {
        self.args.threads()
    }

    /// Works on a batch where templates are watched. What happens to it depends on its own rows alone.
    pub(crate) fn batch(self: &Arc<Self>, rows: Vec<SourceRow>) -> Made {
        let is_large = rows.iter().any(|row| row.row.bytes() > LARGE);
        let alone = is_large.then(|| self.large.lock());
        let begun = Arc::new(Mutex::new(Vec::with_capacity(rows.len())));
        let (worker, done) = (self.clone(), begun.clone());
        let stored = watch_over(move || {
            let encoder = worker.model.encoder.afresh();
            let mut batch = Batch::default();
            for row in rows {
                let (of_row, stored) = worker.row(&encoder, row);
                if let Some(stored) = stored {
                    batch.push(&stored);
                }
                done.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(of_row);
            }
            batch.pack()
        });
        drop(alone);
        let mut rows = std::mem::take(&mut *begun.lock().unwrap_or_else(PoisonError::into_inner));
        let stored = stored.unwrap_or_else(|fault| {
            // The row that was being written is the one behind those that are done.
            let what = Outcome::Fatal(self.model.unfit_template(&fault));
            rows.push(Worked::new(0, None, what));
            Ok(Packed::default())
        });
        Made { rows, stored }
    }

    fn row(&self, encoder: &Encoder, row: SourceRow) -> (Worked, Option<Stored>) {
        let SourceRow { row, split, source } = row;
        let unread = match row {
            Found::Row(row) => row,
            Found::Bad(error) => return (Worked::new(source, split, Outcome::Bad(error)), None),
            Found::End(error) => return (Worked::new(source, split, Outcome::Fatal(error)), None),
        };
        let mut raw = match unread.read() {
            Ok(raw) => raw,
            Err(error) => return (Worked::new(source, split, Outcome::Bad(error)), None),
        };
        self.see_ignored(&raw);
        let before = encoder.template_excesses();
        let mut worked = Worked::new(source, split, Outcome::Refused(String::new()));
        let mut stored = None;
        worked.outcome = match self.record(&raw, &mut worked.unused) {
            Err(outcome) => outcome,
            Ok(record) => match self.encode(encoder, &record) {
                Ok(encoded) => {
                    let row = self.made(encoder, &raw, &record, &encoded);
                    let values = self.kept.values(&raw);
                    let has = values.iter().map(Option::is_some).collect();
                    stored = Some(Stored {
                        example: encoded.example,
                        kept: values,
                    });
                    Outcome::Row(Box::new(Row { has, ..row }))
                }
                Err(Refusal::TooLong(most)) if self.args.overlength == "error" => {
                    let what = format!("{}: longer than --max-length {most}", raw.place());
                    let hint = "raise --max-length, or choose another --overlength";
                    Outcome::Fatal(Error::new(what).hint(hint))
                }
                Err(reason) => Outcome::Refused(reason.to_string()),
            },
        };
        worked.excesses = encoder.template_excesses() - before;
        worked.place = Place(Some((raw.path, std::mem::take(&mut raw.place))));
        (worked, stored)
    }

    fn see_ignored(&self, row: &RawRow) {
        let found = self.reading.ignored_of(&row.value);
        if !found.is_empty() {
            let mut all = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(found.into_iter().map(str::to_owned));
        }
    }

    /// Keys of --ignore that no row so far has.
    pub(crate) fn never_ignored(&self) -> Vec<&str> {
        let all = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.args.ignore.iter().map(String::as_str);
        keys.filter(|key| !all.contains(*key)).collect()
    }

    fn record(&self, row: &RawRow, unused: &mut Vec<String>) -> Result<Record, Outcome> {
        let record = Record::read(&row.value, &self.reading).map_err(|fault| match fault {
            Fault::Shape(_) if self.args.skips_bad_lines() => {
                Outcome::Refused("a row of no known layout".to_owned())
            }
            Fault::Shape(mistake) => Outcome::Fatal(row.error(mistake).into()),
            Fault::Refused(reason) => Outcome::Refused(reason.to_string()),
        })?;
        let keys = record.unused.iter();
        unused.extend(keys.filter(|key| !self.args.keep.contains(key)).cloned());
        Ok(record)
    }

    fn encode(&self, encoder: &Encoder, record: &Record) -> Result<Encoded, Refusal> {
        match (&record.content, self.args.text_block) {
            // Packed text has the length of its block.
            (Content::Text(_), Some(_)) => encoder.encode_noted(record),
            _ => encoder.encode_within(record, self.model.max_length, self.args.overlength()),
        }
    }

    fn made(&self, encoder: &Encoder, raw: &RawRow, record: &Record, encoded: &Encoded) -> Row {
        let example = &encoded.example;
        let belonging = self
            .own_group(raw)
            .map(|own| Belonging::of(record, example, &self.learn, own.as_deref(), self.args.near));
        let system = encoder.system_of(record);
        Row {
            fingerprint: fingerprint(example),
            belonging,
            unread: encoded.unread.clone(),
            notes: encoded.notes.iter().map(ToString::to_string).collect(),
            system: system.map(|text| text.map(str::to_owned)),
            arguments: Encoder::arguments_of(record),
            number: mixture::number(&self.args, &example.id),
            has: Vec::new(),
        }
    }

    /// The row's value of the user's own key of what belongs together.
    fn own_group(&self, row: &RawRow) -> Result<Option<String>> {
        let Some(key) = &self.args.group else {
            return Ok(None);
        };
        match row.value.get(key) {
            None => {
                let what = format!("{}: the row has no key '{key}' of --group", row.place());
                Err(Error::new(what).hint("name a key that all rows have"))
            }
            Some(serde_json::Value::Null) => Ok(None),
            Some(value) => Ok(Some(value.to_string())),
        }
    }
}

impl Worked {
    fn new(source: usize, split: Option<SplitName>, outcome: Outcome) -> Self {
        Self {
            source,
            split,
            place: Place::default(),
            unused: Vec::new(),
            excesses: 0,
            outcome,
        }
    }
}

fn fingerprint(example: &Example) -> Key {
    let mut hash = Sha256::new();
    hash.update((example.prompt.len() as u64).to_le_bytes());
    hash.update(&example.prompt);
    hash.update(&example.completion);
    let hash: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|at| hash[at])
}
