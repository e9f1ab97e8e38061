//! The way of a row: read, recognised, encoded, refused or put into its split; then the folder is written.
use crate::keep::Kept;
use crate::model::Model;
use crate::read::Raw;
use crate::refused::hint;
use crate::source::SOURCE;
use crate::tally::Tally;
use crate::way::Way;
use crate::{Args, mixture, report};
use lora_cli::Foreign as _;
use lora_cli::{Error, Result, Status, Ui, artefact_input};
use lora_data::{
    Example, Manifest, SourceCount, Split, SplitName, SplitSummary, Splits, splits_of, text_blocks,
};
use lora_receipt::{Artefact, Draft, Input, Staged};
use std::collections::{BTreeMap, HashSet};
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
    let mut raw = Raw::of(&args)?;
    let share = if raw.own.is_empty() { VALID } else { 0.0 };
    args.valid.get_or_insert(share);
    let prepared = Prepared::of(&mut raw, &args, &model, &mut inputs, ui)?;
    let read = raw.read;
    prepared.check(&args, &raw.own, read)?;
    check_refused(&args, &prepared.refused, read)?;
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

/// Refuses to write where more rows were refused than somebody allows.
fn check_refused(args: &Args, refused: &Tally, read: usize) -> Result<()> {
    let count: usize = refused.iter().map(|(_, rows, _)| rows).sum();
    let Some(most) = args.max_refused else {
        return Ok(());
    };
    if count as f64 <= most * read as f64 {
        return Ok(());
    }
    let reasons = refused
        .iter()
        .map(|(reason, rows, first)| format!("{rows} {reason} (first: {first})"));
    let reasons: Vec<String> = reasons.collect();
    let what = format!("{count} of {read} rows were refused, more than --max-refused {most}");
    Err(Error::new(what).hint(reasons.join("; ")))
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
    /// The sources as the command line names them, and what became of their rows.
    names: Vec<String>,
    pub(crate) sources: BTreeMap<String, SourceCount>,
    /// The place of each row's source, in the order of its split.
    source_of: BTreeMap<SplitName, Vec<usize>>,
}

/// A row that became an example.
struct KeptRow {
    example: Example,
    split: Option<SplitName>,
    source: usize,
}

impl Prepared {
    fn of(
        raw: &mut Raw,
        args: &Args,
        model: &Model,
        inputs: &mut Vec<Input>,
        ui: &Ui,
    ) -> Result<Self> {
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
            refused: Tally::default(),
            unused: Tally::default(),
            notes: Tally::default(),
            joined: 0,
            leaked: 0,
            names: Vec::new(),
            sources: BTreeMap::new(),
            source_of: BTreeMap::new(),
            kept: Kept::new(&args.keep)?,
        };
        let mut way = Way::new(args, model);
        let mut kept = Vec::new();
        raw.each(args, inputs, ui, |raw| {
            if let Some(example) = way.of_row(&raw.row)? {
                made.kept.see(&raw.row, &example);
                kept.push(KeptRow {
                    example,
                    split: raw.split,
                    source: raw.source,
                });
            }
            Ok(())
        })?;
        way.refused.join(std::mem::take(&mut raw.bad));
        made.names.clone_from(&raw.names);
        made.refused = way.refused;
        made.unused = way.unused;
        made.notes = way.notes;
        made.joined = way.units.joined();
        let mut units = way.units.keys();
        made.draw(&mut kept, &mut units, &raw.read_of, args)?;
        made.divide(kept, units, args, &raw.own);
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

    /// Leaves the rows that are drawn from each source, and counts them.
    fn draw(
        &mut self,
        kept: &mut Vec<KeptRow>,
        units: &mut Vec<String>,
        read_of: &[usize],
        args: &Args,
    ) -> Result<()> {
        let of_row = |row: &KeptRow| match row.split {
            None => Some((row.source, row.example.id.clone())),
            Some(_) => None,
        };
        let rows: Vec<Option<(usize, String)>> = kept.iter().map(of_row).collect();
        let is_drawn = mixture::drawn(args, &self.names, &rows)?;
        if self.names.len() > 1 {
            let read = read_of.iter().map(|read| SourceCount {
                read: *read,
                ..SourceCount::default()
            });
            let mut counts: Vec<SourceCount> = read.collect();
            for (row, is_drawn) in kept.iter().zip(&is_drawn) {
                counts[row.source].usable += 1;
                counts[row.source].rows += usize::from(*is_drawn);
            }
            self.sources = self.names.iter().cloned().zip(counts).collect();
        }
        let mut drawn = is_drawn.iter();
        kept.retain(|_| drawn.next() == Some(&true));
        let mut drawn = is_drawn.iter();
        units.retain(|_| drawn.next() == Some(&true));
        Ok(())
    }

    /// Puts each row into its split.
    fn divide(&mut self, kept: Vec<KeptRow>, units: Vec<String>, args: &Args, own: &[SplitName]) {
        let held_out: Vec<bool> = kept.iter().map(|row| row.split.is_some()).collect();
        let divided = units
            .iter()
            .zip(&held_out)
            .filter(|(_, held_out)| !**held_out);
        let divided: Vec<String> = divided.map(|(unit, _)| unit.clone()).collect();
        let mut splits =
            splits_of(&divided, args.seed, args.valid.unwrap_or(0.0), args.test).into_iter();
        let mut trained = HashSet::new();
        for (row, unit) in kept.into_iter().zip(units) {
            let KeptRow {
                mut example,
                split,
                source,
            } = row;
            let name = split.or_else(|| splits.next()).unwrap_or(SplitName::Train);
            match split {
                None if name == SplitName::Train && !own.is_empty() => {
                    trained.insert(unit.clone());
                }
                Some(_) => self.leaked += usize::from(trained.contains(&unit)),
                None => {}
            }
            example.group = unit;
            self.source_of.entry(name).or_default().push(source);
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

    /// Each row's source, where there are several; a kept column of that name goes before, and blocks are of many rows.
    fn source_column<'s>(
        &'s self,
        place: SplitName,
        split: &Split,
        kept: &[(&str, Vec<Option<&str>>)],
    ) -> Option<(&'static str, Vec<Option<&'s str>>)> {
        let is_taken = kept.iter().any(|(name, _)| *name == SOURCE);
        let sources = self.source_of.get(&place)?;
        if self.names.len() < 2 || is_taken || sources.len() != split.examples.len() {
            return None;
        }
        let names = sources
            .iter()
            .map(|source| Some(self.names[*source].as_str()));
        Some((SOURCE, names.collect()))
    }

    /// Writes the splits and dataset.json.
    fn write(&self, folder: &Path, model: &Model, read: usize) -> Result<Manifest> {
        let summary = |place: SplitName, split: &Split| -> Result<Option<SplitSummary>> {
            if split.examples.is_empty() {
                return Ok(None);
            }
            let name = format!("{place:?}").to_lowercase();
            let mut kept = self.kept.columns_of(&split.examples);
            kept.extend(self.source_column(place, split, &kept));
            split.write_with(&folder.join(format!("{name}.parquet")), &kept)?;
            Ok(Some(SplitSummary::of(&split.examples)))
        };
        let train = summary(SplitName::Train, &self.train)?
            .ok_or_else(|| Error::new("no row is left to train on"))?;
        let manifest = Manifest {
            version: Manifest::VERSION,
            rows_read: read,
            refused: self.refused.counts(),
            unused_keys: self.unused.counts(),
            notes: self.notes.counts(),
            sources: self.sources.clone(),
            splits: Splits {
                train,
                valid: summary(SplitName::Valid, &self.valid)?,
                test: summary(SplitName::Test, &self.test)?,
            },
            tokenizer_sha256: model.tokenizer_sha256.clone(),
            template_sha256: self.train.template_sha256.clone(),
            system: self.train.chat.as_ref().and_then(|c| c.system.clone()),
        };
        manifest.write(folder)?;
        Ok(manifest)
    }
}

/// Text rows become blocks of one length, behind the others.
fn pack(split: &mut Vec<Example>, model: &Model, block: usize) {
    let (texts, mut rows): (Vec<_>, Vec<_>) = std::mem::take(split)
        .into_iter()
        .partition(|row| row.prompt.is_empty());
    rows.extend(text_blocks(&model.encoder, &texts, block));
    *split = rows;
}
