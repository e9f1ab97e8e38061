//! The way of a row: read, recognised, encoded, refused or put into its split; then the folder is written.
use crate::keep::Kept;
use crate::model::Model;
use crate::read::{Raw, STRIDE};
use crate::refused::hint;
use crate::systems::Systems;
use crate::tally::Tally;
use crate::{Args, report};
use lora_cli::Foreign as _;
use lora_cli::{Error, Result, Status, Ui, artefact_input};
use lora_data::{
    Content, Encoded, Example, Fault, Manifest, RawRow, Reading, Record, Refusal, Split, SplitName,
    SplitSummary, Splits, Units, splits_of, text_blocks,
};
use lora_receipt::{Artefact, Draft, Staged};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

/// Share of the prompts that is held out where nobody says another.
const VALID: f64 = 0.1;

/// Makes the dataset folder.
pub(crate) fn prepare(mut args: Args, ui: &Ui) -> Result<Status> {
    let started = Instant::now();
    args.refuse_contradictions()?;
    let (Some(base), Some(out)) = (args.base.take(), args.out.clone()) else {
        return Err(Error::new("--base and --out are needed"));
    };
    let base = artefact_input(&base, Artefact::Model)?;
    args.base = Some(base.clone());
    let model = Model::open(&args, &base)?;
    args.max_length = Some(model.max_length);
    if model.max_length > model.context {
        ui.warn(&format!(
            "--max-length {} is more than the model's context of {} tokens",
            model.max_length, model.context
        ));
    }
    let staged = Staged::folder(&out, args.force)?;
    let mut inputs = model.inputs.clone();
    let raw = Raw::read(&args, &mut inputs, ui)?;
    let share = if raw.own.is_empty() { VALID } else { 0.0 };
    args.valid.get_or_insert(share);
    let read = raw.rows.len();
    let own = raw.own.clone();
    let prepared = Prepared::of(raw, &args, &model, ui)?;
    prepared.check(&args, &own, read)?;
    let manifest = prepared.write(staged.path(), &model, read)?;
    report::print(&manifest, &prepared, &model, ui);
    let draft = Draft {
        tool: env!("CARGO_PKG_NAME").to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        artefact: Artefact::Dataset,
        config: serde_json::to_value(&args).foreign()?,
        seed: Some(args.seed),
        inputs,
        results: serde_json::to_value(&manifest).foreign()?,
        measured: serde_json::json!({}),
        started,
    };
    let receipt = staged.commit(draft)?;
    ui.receipt(&receipt);
    Ok(Status::Done)
}

/// Rows in their splits, and those refused.
pub(crate) struct Prepared {
    pub(crate) train: Split,
    pub(crate) valid: Split,
    pub(crate) test: Split,
    pub(crate) refused: Tally,
    /// Keys that are not read.
    pub(crate) unused: Tally,
    /// What was done to rows that are kept.
    pub(crate) notes: Tally,
    /// How often rows of different prompts were joined, since they belong together.
    pub(crate) joined: usize,
    /// Rows of held-out files that belong to rows that are trained on.
    pub(crate) leaked: usize,
    kept: Kept,
}

impl Prepared {
    fn of(raw: Raw, args: &Args, model: &Model, ui: &Ui) -> Result<Self> {
        let empty = || Split {
            examples: Vec::new(),
            tokenizer_sha256: Some(model.tokenizer_sha256.clone()),
            template_sha256: model.encoder.template_sha256().map(str::to_owned),
            chat: None,
        };
        let mut made = Self {
            train: empty(),
            valid: empty(),
            test: empty(),
            refused: raw.bad,
            unused: Tally::default(),
            notes: Tally::default(),
            joined: 0,
            leaked: 0,
            kept: Kept::new(&args.keep)?,
        };
        let mut way = Way {
            args,
            model,
            reading: args.reading(),
            seen: HashSet::new(),
            systems: Systems::default(),
            units: Units::new(args.near),
        };
        let own = raw.own;
        let progress = ui.progress("preparing", raw.rows.len() as u64, "rows");
        let mut kept = Vec::new();
        for (number, (row, split)) in raw.rows.iter().enumerate() {
            if number % STRIDE == 0 {
                ui.check_interrupt()?;
                progress.inc(STRIDE.min(raw.rows.len() - number) as u64);
            }
            if let Some(example) = way.of_row(row, &mut made)? {
                made.kept.see(row, &example);
                kept.push((example, *split));
            }
        }
        let units = std::mem::replace(&mut way.units, Units::new(None));
        made.joined = units.joined();
        made.divide(kept, units.keys(), args, &own);
        if let Some(block) = args.text_block {
            for split in [
                &mut made.train.examples,
                &mut made.valid.examples,
                &mut made.test.examples,
            ] {
                pack(split, model, block);
            }
        }
        let system = way.systems.common(args.system.as_deref());
        let chat = model.encoder.chat_with(system);
        for split in [&mut made.train, &mut made.valid, &mut made.test] {
            split.chat = Some(chat.clone());
        }
        Ok(made)
    }

    /// Puts each row into its split.
    fn divide(
        &mut self,
        kept: Vec<(Example, Option<SplitName>)>,
        units: Vec<String>,
        args: &Args,
        own: &[SplitName],
    ) {
        let held_out: Vec<bool> = kept.iter().map(|(_, split)| split.is_some()).collect();
        let divided = units
            .iter()
            .zip(&held_out)
            .filter(|(_, held_out)| !**held_out);
        let divided: Vec<String> = divided.map(|(unit, _)| unit.clone()).collect();
        let mut splits =
            splits_of(&divided, args.seed, args.valid.unwrap_or(0.0), args.test).into_iter();
        let mut trained = HashSet::new();
        for ((mut example, split), unit) in kept.into_iter().zip(units) {
            let name = split.or_else(|| splits.next()).unwrap_or(SplitName::Train);
            match split {
                None if name == SplitName::Train && !own.is_empty() => {
                    trained.insert(unit.clone());
                }
                Some(_) => self.leaked += usize::from(trained.contains(&unit)),
                None => {}
            }
            example.group = unit;
            self.split_mut(name).push(example);
        }
    }

    fn split_mut(&mut self, name: SplitName) -> &mut Vec<Example> {
        match name {
            SplitName::Train => &mut self.train.examples,
            SplitName::Valid => &mut self.valid.examples,
            SplitName::Test => &mut self.test.examples,
        }
    }

    /// Every split that was asked for has a row.
    fn check(&self, args: &Args, own: &[SplitName], read: usize) -> Result<()> {
        self.kept.check()?;
        let kept = self.train.examples.len() + self.valid.examples.len() + self.test.examples.len();
        if kept == 0 {
            let reasons: Vec<String> = self
                .refused
                .iter()
                .map(|(reason, rows, _)| format!("{reason} ({rows})"))
                .collect();
            let hint = self.refused.most().map_or("", |reason| hint(reason, args));
            return Err(Error::new(format!(
                "all {read} rows were refused: {}",
                reasons.join("; ")
            ))
            .hint(hint));
        }
        for (name, share, rows) in [
            ("valid", args.valid.unwrap_or(0.0), &self.valid.examples),
            ("test", args.test, &self.test.examples),
        ] {
            if share > 0.0 && rows.is_empty() {
                return Err(Error::new(format!(
                    "no row fell into the {name} split: {kept} rows are too few for --{name} {share}"
                ))
                .hint(format!("give more rows, a larger --{name}, another --seed, or --{name} 0")));
            }
        }
        for (name, split) in [
            (SplitName::Valid, &self.valid),
            (SplitName::Test, &self.test),
        ] {
            if own.contains(&name) && split.examples.is_empty() {
                let what = format!("no row of the files for {name:?} is left").to_lowercase();
                return Err(Error::new(what)
                    .hint("all were refused, or stand among the rows to train on as well"));
            }
        }
        if self.train.examples.is_empty() {
            return Err(Error::new(format!(
                "no row is left to train on: all {kept} rows were held out"
            ))
            .hint(
                "rows with the same prompt stay together; give more prompts or a smaller --valid",
            ));
        }
        Ok(())
    }

    /// Writes the splits and dataset.json.
    fn write(&self, folder: &Path, model: &Model, read: usize) -> Result<Manifest> {
        let summary = |name: &str, split: &Split| -> Result<Option<SplitSummary>> {
            if split.examples.is_empty() {
                return Ok(None);
            }
            let kept = self.kept.columns_of(&split.examples);
            split.write_with(&folder.join(format!("{name}.parquet")), &kept)?;
            Ok(Some(SplitSummary::of(&split.examples)))
        };
        let train = summary("train", &self.train)?
            .ok_or_else(|| Error::new("no row is left to train on"))?;
        let manifest = Manifest {
            version: Manifest::VERSION,
            rows_read: read,
            refused: self.refused.counts(),
            unused_keys: self.unused.counts(),
            notes: self.notes.counts(),
            splits: Splits {
                train,
                valid: summary("valid", &self.valid)?,
                test: summary("test", &self.test)?,
            },
            tokenizer_sha256: model.tokenizer_sha256.clone(),
            template_sha256: self.train.template_sha256.clone(),
            system: self.train.chat.as_ref().and_then(|c| c.system.clone()),
        };
        manifest.write(folder)?;
        Ok(manifest)
    }
}

/// What rows go through, one after the other.
struct Way<'a> {
    args: &'a Args,
    model: &'a Model,
    reading: Reading,
    /// Prompts and completions that were kept.
    seen: HashSet<[u8; 32]>,
    systems: Systems,
    units: Units,
}

impl Way<'_> {
    /// The example of a row; None if it is refused, which is counted.
    fn of_row(&mut self, row: &RawRow, made: &mut Prepared) -> Result<Option<Example>> {
        let record = match Record::read(&row.value, &self.reading) {
            Ok(record) => record,
            Err(Fault::Shape(_)) if self.args.skips_bad_lines() => {
                made.refused.add("a row of no known layout", row.place());
                return Ok(None);
            }
            Err(Fault::Shape(mistake)) => return Err(row.error(mistake).into()),
            Err(Fault::Refused(reason)) => {
                made.refused.add(reason.to_string(), row.place());
                return Ok(None);
            }
        };
        let is_kept = |key: &&String| self.args.keep.contains(key);
        for key in record.unused.iter().filter(|key| !is_kept(key)) {
            made.unused.add(key, row.place());
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
                made.refused.add(reason.to_string(), row.place());
                return Ok(None);
            }
        };
        let example = encoded.example;
        if !self.args.keep_duplicates && !self.seen.insert(fingerprint(&example)) {
            made.refused
                .add(Refusal::Duplicate.to_string(), row.place());
            return Ok(None);
        }
        for key in encoded.unread {
            made.unused.add(key, row.place());
        }
        for note in encoded.notes {
            made.notes.add(note.to_string(), row.place());
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

/// Text rows become blocks of one length, behind the others.
fn pack(split: &mut Vec<Example>, model: &Model, block: usize) {
    let (texts, mut rows): (Vec<_>, Vec<_>) = std::mem::take(split)
        .into_iter()
        .partition(|row| row.prompt.is_empty());
    rows.extend(text_blocks(&model.encoder, &texts, block));
    *split = rows;
}
