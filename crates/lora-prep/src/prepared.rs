//! All rows once they are known: in their splits, checked, and written.
use crate::arguments::Arguments;
use crate::common::system;
use crate::divide::{Division, Held};
use crate::model::Model;
use crate::refused::hint;
use crate::source::SOURCE;
use crate::stored::{Store, no_room};
use crate::tally::Tally;
use crate::way::Way;
use crate::write::{Output, Written};
use crate::{Args, keep};
use lora_cli::{Error, Result};
use lora_data::{Blocks, Manifest, SourceCount, Split, SplitName, SplitSummary, Splits};
use std::collections::BTreeMap;
use std::path::Path;

/// Rows in their splits, and those refused.
pub(crate) struct Prepared {
    /// What holds for all rows.
    about: Split,
    store: Store,
    division: Division,
    held: Held,
    /// Rows that were read.
    pub(crate) read: usize,
    pub(crate) refused: Tally,
    /// Keys that are not read.
    pub(crate) unused: Tally,
    /// What was done to rows that are kept.
    pub(crate) notes: Tally,
    /// What the rows give their template.
    pub(crate) arguments: Arguments,
    /// How often rows of different prompts were joined, since they belong together.
    pub(crate) joined: usize,
    /// Which of the kept columns some row has.
    has: Vec<bool>,
    /// The sources as the command line names them.
    names: Vec<String>,
    /// What was seen of the rows to train on, once they are written.
    pub(crate) train: Written,
}

impl Prepared {
    pub(crate) fn of(
        way: Way<'_>,
        args: &Args,
        model: &Model,
        names: Vec<String>,
        own: &[SplitName],
    ) -> Result<Self> {
        let mut store = way.store;
        let units = way.units.finish().map_err(no_room)?;
        let joined = units.joined();
        let mut division = Division::of(way.rows, units, &names, &way.read_of, (args, own))?;
        let held = division.held(&mut store, args.text_block)?;
        let chat = model
            .encoder
            .chat_with(system(way.systems, args.system.as_deref()));
        let (chat, arguments) = Arguments::take_along(chat, way.arguments);
        Ok(Self {
            about: Split {
                examples: Vec::new(),
                tokenizer_sha256: Some(model.tokenizer_sha256.clone()),
                template_sha256: chat.template_sha256(),
                chat: Some(chat),
            },
            arguments,
            store,
            division,
            held,
            read: way.read,
            refused: way.refused,
            unused: way.unused,
            notes: way.notes,
            joined,
            has: way.has,
            names,
            train: Written::default(),
        })
    }

    /// What became of the rows of each source, if there are several.
    pub(crate) fn sources(&self) -> &BTreeMap<String, SourceCount> {
        &self.division.sources
    }

    /// Rows of held-out files that belong to rows that are trained on.
    pub(crate) fn leaked(&self) -> usize {
        self.division.leaked
    }

    /// Every split that was asked for has a row.
    pub(crate) fn check(&self, args: &Args, own: &[SplitName]) -> Result<()> {
        let kept: usize = self.held.rows.values().sum();
        if self.refused.rows() < self.read {
            keep::check(&args.keep, &self.has)?;
        }
        if kept == 0 {
            let reasons: Vec<String> = self
                .refused
                .iter()
                .map(|(reason, rows, _)| format!("{reason} ({rows})"))
                .collect();
            let hint = self.refused.most().map_or("", |reason| hint(reason, args));
            return Err(Error::new(format!(
                "all {} rows were refused: {}",
                self.read,
                reasons.join("; ")
            ))
            .hint(hint));
        }
        for (name, split, share) in [
            ("valid", SplitName::Valid, args.valid.unwrap_or(0.0)),
            ("test", SplitName::Test, args.test),
        ] {
            if share > 0.0 && self.held.rows(split) == 0 {
                return Err(Error::new(format!(
                    "no row fell into the {name} split: {kept} rows are too few for --{name} {share}"
                ))
                .hint(format!("give more rows, a larger --{name}, another --seed, or --{name} 0")));
            }
        }
        for name in own {
            if self.held.rows(*name) == 0 {
                let what = format!("no row of the files for {name:?} is left").to_lowercase();
                return Err(Error::new(what)
                    .hint("all were refused, or stand among the rows to train on as well"));
            }
        }
        if self.held.rows(SplitName::Train) == 0 {
            return Err(Error::new(format!(
                "no row is left to train on: all {kept} rows were held out"
            ))
            .hint(
                "rows with the same prompt stay together; give more prompts or a smaller --valid",
            ));
        }
        Ok(())
    }

    /// True if a split's file has a column of the rows' sources: if there are several; a kept column of that name goes
    /// before, and blocks are of many rows.
    fn has_sources(&self, split: SplitName, args: &Args) -> bool {
        let is_taken = args.keep.iter().any(|name| name == SOURCE);
        self.names.len() > 1 && !is_taken && !self.held.texts.contains_key(&split)
    }

    /// Writes the splits and dataset.json.
    pub(crate) fn write(&mut self, folder: &Path, args: &Args, model: &Model) -> Result<Manifest> {
        let mut written = self.write_splits(folder, args, model)?;
        let mut summary = |name| written.remove(&name);
        let (train, seen) =
            summary(SplitName::Train).ok_or_else(|| Error::new("no row is left to train on"))?;
        let valid = summary(SplitName::Valid).map(|(summary, _)| summary);
        let test = summary(SplitName::Test).map(|(summary, _)| summary);
        self.train = seen;
        let manifest = Manifest {
            version: Manifest::VERSION,
            rows_read: self.read,
            refused: self.refused.counts(),
            unused_keys: self.unused.counts(),
            notes: self.notes.counts(),
            sources: self.sources().clone(),
            splits: Splits { train, valid, test },
            tokenizer_sha256: model.tokenizer_sha256.clone(),
            added_tokens: model.tokenizer.added_tokens.clone(),
            template_sha256: self.about.template_sha256.clone(),
            system: self.about.chat.as_ref().and_then(|c| c.system.clone()),
        };
        manifest.write(folder)?;
        model.write_tokenizer(folder)?;
        Ok(manifest)
    }

    /// Writes the rows of all splits, those that are cut into blocks behind the others.
    fn write_splits(
        &mut self,
        folder: &Path,
        args: &Args,
        model: &Model,
    ) -> Result<BTreeMap<SplitName, (SplitSummary, Written)>> {
        let mut outputs = BTreeMap::new();
        for (split, _) in self.held.rows.iter().filter(|(_, rows)| **rows > 0) {
            let mut columns: Vec<&str> = args.keep.iter().map(String::as_str).collect();
            columns.extend(self.has_sources(*split, args).then_some(SOURCE));
            let output = Output::create(folder, *split, &self.about, model, &columns)?;
            outputs.insert(*split, output);
        }
        let has_texts = !self.held.texts.is_empty();
        let names = &self.names;
        self.division.each(&mut self.store, |mut row, placed| {
            let is_block = has_texts && row.example.prompt.is_empty();
            if let Some(output) = outputs.get_mut(&placed.split).filter(|_| !is_block) {
                row.example.group = placed.group.to_string();
                if output.columns() > row.kept.len() {
                    row.kept.push(Some(names[placed.source].clone()));
                }
                output.row(row, placed.unit)?;
            }
            Ok(())
        })?;
        if let Some(block) = args.text_block.filter(|_| has_texts) {
            self.write_blocks(block, model, &mut outputs)?;
        }
        let ends = outputs.into_iter();
        ends.map(|(split, output)| Ok((split, output.finish()?)))
            .collect()
    }

    /// Texts become blocks of one length.
    fn write_blocks(
        &mut self,
        block: usize,
        model: &Model,
        outputs: &mut BTreeMap<SplitName, Output<'_>>,
    ) -> Result<()> {
        let mut blocks: BTreeMap<SplitName, Blocks> = BTreeMap::new();
        self.division.each(&mut self.store, |row, placed| {
            if row.example.prompt.is_empty() {
                let texts = blocks
                    .entry(placed.split)
                    .or_insert_with(|| Blocks::new(block));
                texts.push(&row.example.input_ids);
                while let Some(row) = texts.next(&model.encoder) {
                    if let Some(output) = outputs.get_mut(&placed.split) {
                        output.block(row)?;
                    }
                }
            }
            Ok(())
        })?;
        for (split, mut texts) in blocks {
            let last = texts.last(&model.encoder);
            if let Some((output, row)) = outputs.get_mut(&split).zip(last) {
                output.block(row)?;
            }
        }
        Ok(())
    }
}
