//! Puts rows into splits, once all are known: which are drawn, and where their units lie.
use crate::rows::Rows;
use crate::stored::{Store, Stored, no_room};
use crate::{Args, mixture};
use lora_cli::Result;
use lora_data::{Group, Joined, SourceCount, SplitName};
use std::collections::BTreeMap;

/// Where rows were put.
pub(crate) struct Division {
    rows: Rows,
    joined: Joined,
    /// The split of each row that is kept; None if it was not drawn.
    splits: Vec<Option<SplitName>>,
    /// Rows of held-out files that belong to rows that are trained on.
    pub(crate) leaked: usize,
    /// What became of the rows of each source, if there are several.
    pub(crate) sources: BTreeMap<String, SourceCount>,
}

/// Where a row was put.
pub(crate) struct Placed {
    pub(crate) split: SplitName,
    /// The number and the key of its unit, and the place of its source's name.
    pub(crate) unit: usize,
    pub(crate) group: Group,
    pub(crate) source: usize,
}

/// What each split is going to hold.
#[derive(Default)]
pub(crate) struct Held {
    /// Rows of the file.
    pub(crate) rows: BTreeMap<SplitName, usize>,
    /// Texts that become blocks.
    pub(crate) texts: BTreeMap<SplitName, usize>,
}

impl Held {
    pub(crate) fn rows(&self, name: SplitName) -> usize {
        self.rows.get(&name).copied().unwrap_or(0)
    }
}

impl Division {
    /// Of rows of these sources, of which so many were read; `own` are the splits that files bring.
    pub(crate) fn of(
        rows: Rows,
        joined: Joined,
        names: &[String],
        read_of: &[usize],
        (args, own): (&Args, &[SplitName]),
    ) -> Result<Self> {
        let is_drawn = mixture::drawn(args, names, &rows)?;
        let sources = match names.len() > 1 {
            true => counts(&rows, names, read_of, &is_drawn),
            false => BTreeMap::new(),
        };
        let mut made = Self {
            splits: Vec::new(),
            rows,
            joined,
            leaked: 0,
            sources,
        };
        made.divide(&is_drawn, args)?;
        if !own.is_empty() {
            made.count_leaked(&is_drawn);
        }
        Ok(made)
    }

    /// Puts each row that is drawn and has no split of its own into one.
    fn divide(&mut self, is_drawn: &[bool], args: &Args) -> Result<()> {
        let own = &self.rows.splits;
        let is_divided = |row: usize| is_drawn[row] && own[row].is_none();
        let shares = (args.seed, args.valid.unwrap_or(0.0), args.test);
        self.splits = self.joined.divide(is_divided, shares).map_err(no_room)?;
        for (split, own) in self.splits.iter_mut().zip(own) {
            *split = split.or(*own);
        }
        Ok(())
    }

    /// Counts the rows that are held out though rows of their unit, further up, are trained on.
    fn count_leaked(&mut self, is_drawn: &[bool]) {
        let mut is_trained = vec![false; self.splits.len()];
        for (at, is_drawn) in is_drawn.iter().enumerate() {
            let unit = self.joined.unit(at);
            match self.rows.splits[at] {
                _ if !is_drawn => {}
                None => is_trained[unit] |= self.splits[at] == Some(SplitName::Train),
                Some(_) => self.leaked += usize::from(is_trained[unit]),
            }
        }
    }

    /// Gives the rows that stand in a split, one after the other.
    pub(crate) fn each(
        &mut self,
        store: &mut Store,
        mut take: impl FnMut(Stored, Placed) -> Result<()>,
    ) -> Result<()> {
        let mut is_kept = self.rows.is_kept.iter();
        let mut kept = 0;
        store.each(|stored| {
            if is_kept.next() != Some(&true) {
                return Ok(());
            }
            let at = kept;
            kept += 1;
            let Some(split) = self.splits[at] else {
                return Ok(());
            };
            let placed = Placed {
                split,
                unit: self.joined.unit(at),
                group: self.joined.key(at).map_err(no_room)?,
                source: self.rows.source(at),
            };
            take(stored, placed)
        })
    }

    /// What the splits are going to hold, where texts are cut into blocks if so.
    pub(crate) fn held(&mut self, store: &mut Store, block: Option<usize>) -> Result<Held> {
        let mut held = Held::default();
        let Some(block) = block else {
            for split in self.splits.iter().flatten() {
                *held.rows.entry(*split).or_default() += 1;
            }
            return Ok(held);
        };
        let mut tokens: BTreeMap<SplitName, usize> = BTreeMap::new();
        self.each(store, |row, placed| {
            let is_text = row.example.prompt.is_empty();
            let counts = if is_text {
                &mut held.texts
            } else {
                &mut held.rows
            };
            *counts.entry(placed.split).or_default() += 1;
            if is_text {
                *tokens.entry(placed.split).or_default() += row.example.len();
            }
            Ok(())
        })?;
        for (split, tokens) in tokens {
            // Of a single token nothing is learned.
            let blocks = tokens / block + usize::from(tokens % block > 1);
            *held.rows.entry(split).or_default() += blocks;
        }
        Ok(held)
    }
}

/// What became of the rows of each source.
fn counts(
    rows: &Rows,
    names: &[String],
    read_of: &[usize],
    is_drawn: &[bool],
) -> BTreeMap<String, SourceCount> {
    let mut counts = vec![SourceCount::default(); names.len()];
    for (count, read) in counts.iter_mut().zip(read_of) {
        count.read = *read;
    }
    for (source, is_drawn) in rows.sources().zip(is_drawn) {
        let count = &mut counts[source];
        count.usable += 1;
        count.rows += usize::from(*is_drawn);
    }
    names.iter().cloned().zip(counts).collect()
}
