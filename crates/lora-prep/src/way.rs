//! What rows go through, one after the other: read, recognised, encoded, kept or refused.
use crate::Args;
use crate::model::Model;
use crate::systems::Systems;
use crate::tally::Tally;
use lora_cli::{Error, Result};
use lora_data::{Content, Encoded, Example, Fault, RawRow, Reading, Record, Refusal, Units};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// What rows go through, one after the other.
pub(crate) struct Way<'a> {
    args: &'a Args,
    model: &'a Model,
    reading: Reading,
    /// Prompts and completions that were kept.
    seen: HashSet<[u8; 32]>,
    pub(crate) systems: Systems,
    pub(crate) units: Units,
    pub(crate) refused: Tally,
    /// Keys that are not read.
    pub(crate) unused: Tally,
    /// What was done to rows that are kept.
    pub(crate) notes: Tally,
}

impl<'a> Way<'a> {
    /// Before the first row.
    pub(crate) fn new(args: &'a Args, model: &'a Model) -> Self {
        Self {
            args,
            model,
            reading: args.reading(),
            seen: HashSet::new(),
            systems: Systems::default(),
            units: Units::new(args.near),
            refused: Tally::default(),
            unused: Tally::default(),
            notes: Tally::default(),
        }
    }

    /// The example of a row; None if it is refused, which is counted.
    pub(crate) fn of_row(&mut self, row: &RawRow) -> Result<Option<Example>> {
        let record = match Record::read(&row.value, &self.reading) {
            Ok(record) => record,
            Err(Fault::Shape(_)) if self.args.skips_bad_lines() => {
                self.refused.add("a row of no known layout", row.place());
                return Ok(None);
            }
            Err(Fault::Shape(mistake)) => return Err(row.error(mistake).into()),
            Err(Fault::Refused(reason)) => {
                self.refused.add(reason.to_string(), row.place());
                return Ok(None);
            }
        };
        let is_kept = |key: &&String| self.args.keep.contains(key);
        for key in record.unused.iter().filter(|key| !is_kept(key)) {
            self.unused.add(key, row.place());
        }
        let encoded = match self.encode(&record) {
            Ok(encoded) => encoded,
            Err(Refusal::TooLong(most)) if self.args.overlength == "error" => {
                let what = format!("{}: longer than --max-length {most}", row.place());
                return Err(
                    Error::new(what).hint("raise --max-length, or choose another --overlength")
                );
            }
            Err(reason) if self.model.encoder.template_is_given_up() => {
                let what = format!("{}: {reason}", row.place());
                return Err(self.model.unfit_template(&what));
            }
            Err(reason) => {
                self.refused.add(reason.to_string(), row.place());
                return Ok(None);
            }
        };
        let example = encoded.example;
        if !self.args.keep_duplicates && !self.seen.insert(fingerprint(&example)) {
            self.refused
                .add(Refusal::Duplicate.to_string(), row.place());
            return Ok(None);
        }
        for key in encoded.unread {
            self.unused.add(key, row.place());
        }
        for note in encoded.notes {
            self.notes.add(note.to_string(), row.place());
        }
        let own = self.own_group(row)?;
        let learn = self.args.rules().learn;
        self.units.add(&record, &example, &learn, own.as_deref());
        let system = self.model.encoder.system_of(&record);
        self.systems.see(system.map(|text| text.map(str::to_owned)));
        Ok(Some(example))
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

    fn encode(&self, record: &Record) -> Result<Encoded, Refusal> {
        let encoder = &self.model.encoder;
        match (&record.content, self.args.text_block) {
            // Packed text has the length of its block.
            (Content::Text(_), Some(_)) => encoder.encode_noted(record),
            _ => encoder.encode_within(record, self.model.max_length, self.args.overlength()),
        }
    }
}

/// Two rows with the same prompt and completion are the same row.
fn fingerprint(example: &Example) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((example.prompt.len() as u64).to_le_bytes());
    hash.update(&example.prompt);
    hash.update(&example.completion);
    hash.finalize().into()
}
