//! Writes the rows that waited into their splits, each as a file of row groups, and counts them on the way.
use crate::model::Model;
use crate::stored::Stored;
use lora_cli::Result;
use lora_data::{Example, Split, SplitCounts, SplitName, SplitSummary, SplitWriter};
use std::collections::HashSet;
use std::path::Path;

/// Bytes of rows that are held until they are written, if they are few rows.
const HELD: usize = 32 << 20;

/// A split that is being written.
pub(crate) struct Output<'a> {
    model: &'a Model,
    writer: SplitWriter,
    rows: Vec<Example>,
    /// The further columns' values of these.
    values: Vec<Vec<Option<String>>>,
    /// Bytes of these.
    bytes: usize,
    counts: SplitCounts,
    /// Units that stand in it, and groups of rows that are of none.
    units: Vec<bool>,
    blocks: HashSet<String>,
    seen: Written,
}

/// What was seen of a split's rows.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The first row.
    pub(crate) first: Option<Example>,
    pub(crate) rows: usize,
    /// Rows that have a prompt.
    pub(crate) with_prompt: usize,
    /// Those of them that end in no special token.
    pub(crate) endless: usize,
}

impl<'a> Output<'a> {
    /// Begins the file of a split of this name; `about` says what holds for all its rows.
    pub(crate) fn create(
        folder: &Path,
        name: SplitName,
        about: &Split,
        model: &'a Model,
        columns: &[&str],
    ) -> Result<Self> {
        let name = format!("{name:?}").to_lowercase();
        let path = folder.join(format!("{name}.parquet"));
        Ok(Self {
            writer: SplitWriter::create(&path, about, columns)?,
            model,
            values: vec![Vec::new(); columns.len()],
            rows: Vec::new(),
            bytes: 0,
            counts: SplitCounts::default(),
            units: Vec::new(),
            blocks: HashSet::new(),
            seen: Written::default(),
        })
    }

    /// How many columns it has beside a dataset's own.
    pub(crate) fn columns(&self) -> usize {
        self.values.len()
    }

    /// The next row, and the number of its unit.
    pub(crate) fn row(&mut self, row: Stored, unit: usize) -> Result<()> {
        if self.units.len() <= unit {
            self.units.resize(unit + 1, false);
        }
        let is_new = !std::mem::replace(&mut self.units[unit], true);
        self.push(row, is_new)
    }

    /// The next row, which is made of many.
    pub(crate) fn block(&mut self, example: Example) -> Result<()> {
        let is_new = self.blocks.insert(example.group.clone());
        let kept = vec![None; self.values.len()];
        self.push(Stored { example, kept }, is_new)
    }

    fn push(&mut self, row: Stored, is_new: bool) -> Result<()> {
        let Stored { example, kept } = row;
        self.counts.add(&example, is_new);
        self.seen.rows += 1;
        if !example.prompt.is_empty() {
            self.seen.with_prompt += 1;
            self.seen.endless += usize::from(!self.model.encoder.ends_turn(&example));
        }
        if self.seen.first.is_none() {
            self.seen.first = Some(example.clone());
        }
        self.bytes += 8 * example.len() + example.prompt.len() + example.completion.len();
        self.rows.push(example);
        for (column, value) in self.values.iter_mut().zip(kept) {
            self.bytes += value.as_ref().map_or(0, String::len);
            column.push(value);
        }
        match self.rows.len() == SplitWriter::ROWS || self.bytes > HELD {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let values = self.values.iter();
        let values: Vec<Vec<Option<&str>>> = values
            .map(|column| column.iter().map(Option::as_deref).collect())
            .collect();
        let columns: Vec<&[Option<&str>]> = values.iter().map(Vec::as_slice).collect();
        self.writer.write(&self.rows, &columns)?;
        self.rows.clear();
        self.values.iter_mut().for_each(Vec::clear);
        self.bytes = 0;
        Ok(())
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Result<(SplitSummary, Written)> {
        if !self.rows.is_empty() {
            self.flush()?;
        }
        self.writer.finish()?;
        Ok((self.counts.finish(), self.seen))
    }
}
