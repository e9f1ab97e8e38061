//! What becomes of rows among the others, in their order: counted, known already, joined, kept or refused.
use crate::Args;
use crate::common::Common;
use crate::model::Model;
use crate::row::{Made, Outcome, Place, Row, Worked};
use crate::rows::Rows;
use crate::stored::{Store, no_room};
use crate::tally::Tally;
use lora_cli::{Error, Result};
use lora_data::{ChatTemplate, Refusal, Seen, SplitName, Spool, Units};
use serde_json::{Map, Value};
use std::path::Path;

/// Most rows that are told apart.
const MOST: usize = u32::MAX as usize;

/// What is known of the rows so far. A row takes some 30 bytes.
pub(crate) struct Way<'a> {
    args: &'a Args,
    model: &'a Model,
    /// Prompts and completions that were kept.
    seen: Seen,
    /// Renderings that took too much.
    excesses: usize,
    pub(crate) rows: Rows,
    pub(crate) store: Store,
    /// System texts, and what the template is given.
    pub(crate) systems: Common<Option<String>>,
    pub(crate) arguments: Common<Map<String, Value>>,
    pub(crate) units: Units,
    pub(crate) refused: Tally,
    /// Lines that can't be read and are left out.
    bad: Tally,
    /// Keys that are not read.
    pub(crate) unused: Tally,
    /// What was done to rows that are kept.
    pub(crate) notes: Tally,
    /// Rows that were read, and those of each source.
    pub(crate) read: usize,
    pub(crate) read_of: Vec<usize>,
    /// Kept columns that some row has.
    pub(crate) has: Vec<bool>,
}

impl<'a> Way<'a> {
    /// Before the first row. Rows of more than `memory` bytes wait in `folder`, as does what is known of each.
    pub(crate) fn new(args: &'a Args, model: &'a Model, memory: usize, folder: &Path) -> Self {
        let spool = |memory| Spool::new(memory, folder);
        Self {
            args,
            model,
            seen: Seen::default(),
            excesses: 0,
            rows: Rows::default(),
            store: Store::new(spool(memory), args.keep.len()),
            systems: Common::default(),
            arguments: Common::default(),
            units: Units::new(args.near, || spool(memory / 8)),
            refused: Tally::default(),
            bad: Tally::default(),
            unused: Tally::default(),
            notes: Tally::default(),
            read: 0,
            read_of: Vec::new(),
            has: vec![false; args.keep.len()],
        }
    }

    /// The next rows.
    pub(crate) fn take(&mut self, made: Made) -> Result<()> {
        for row in made.rows {
            self.row(row)?;
        }
        self.store.push(&made.stored?)
    }

    /// After the last row.
    pub(crate) fn end(&mut self) {
        self.refused.join(std::mem::take(&mut self.bad));
        self.seen = Seen::default();
    }

    fn row(&mut self, row: Worked) -> Result<()> {
        let Worked {
            source,
            split,
            place,
            unused,
            excesses,
            outcome,
        } = row;
        let outcome = match outcome {
            // What is invalid is one line: a file that is invalid as a whole can't be opened.
            Outcome::Bad(error @ lora_data::Error::Invalid { .. })
                if self.args.skips_bad_lines() =>
            {
                self.bad.add("a line that can't be read", error);
                return Ok(());
            }
            Outcome::Bad(error) => return Err(error.into()),
            Outcome::Fatal(error) => return Err(error),
            read => read,
        };
        self.read += 1;
        let sources = self.read_of.len().max(source + 1);
        self.read_of.resize(sources, 0);
        self.read_of[source] += 1;
        for key in unused {
            self.unused.add(key, &place);
        }
        self.excesses += excesses;
        if self.excesses >= ChatTemplate::EXCESSES {
            let reason = match &outcome {
                Outcome::Refused(reason) => reason,
                _ => ChatTemplate::GIVEN_UP,
            };
            return Err(self.model.unfit_template(&format!("{place}: {reason}")));
        }
        match outcome {
            Outcome::Refused(reason) => self.refused.add(reason, place),
            Outcome::Row(row) => {
                let is_new = self.seen.is_new(row.fingerprint);
                let is_kept = is_new || self.args.keep_duplicates;
                self.rows.is_kept.push(is_kept);
                match is_kept {
                    true => self.keep(*row, (source, split), place)?,
                    false => self.refused.add(Refusal::Duplicate.to_string(), place),
                }
            }
            Outcome::Bad(_) | Outcome::Fatal(_) => {}
        }
        Ok(())
    }

    fn keep(
        &mut self,
        row: Row,
        (source, split): (usize, Option<SplitName>),
        place: Place,
    ) -> Result<()> {
        for key in row.unread {
            self.unused.add(key, &place);
        }
        for note in row.notes {
            self.notes.add(note, &place);
        }
        if self.rows.splits.len() == MOST {
            let what = format!("{place}: more than {MOST} rows can't be told apart");
            return Err(Error::new(what).hint("prepare a part of them: --limit, or fewer files"));
        }
        self.units.add(row.belonging?).map_err(no_room)?;
        self.systems.see(row.system);
        self.arguments.see(row.arguments);
        for (has, row_has) in self.has.iter_mut().zip(row.has) {
            *has |= row_has;
        }
        self.rows.push(split, source);
        if self.args.draws() {
            self.rows.numbers.push(row.number);
        }
        Ok(())
    }
}
