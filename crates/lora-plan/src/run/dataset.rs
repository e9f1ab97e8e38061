//! What the rows of a dataset show: masks, duplicates, prompts on both sides of the split, ends of turns.
use super::answers::{Answers, grown};
use lora_cli::Result;
use lora_data::{Example, Manifest, Split};
use lora_receipt::{Receipt, receipt_path};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A dataset as its rows show it.
#[derive(Debug, Clone)]
pub(crate) struct DatasetFacts {
    /// Its folder or file.
    pub(crate) path: PathBuf,
    /// Raw rows read and refused, with reasons, if lora-prep made it.
    pub(crate) manifest: Option<Manifest>,
    /// What a tool says of how it made it.
    pub(crate) receipt: Option<Receipt>,
    /// The rows that train.
    pub(crate) train: SplitFacts,
    /// The rows held out.
    pub(crate) valid: Option<SplitFacts>,
    /// Held-out rows whose prompt also trains, letter case and punctuation aside.
    pub(crate) leaked: usize,
    /// The prompt of one of them.
    pub(crate) leak: Option<String>,
    /// Held-out rows that go on from a row that trains, or from which one goes on.
    pub(crate) grown: usize,
    /// The prompt of one of them.
    pub(crate) grown_prompt: Option<String>,
    /// What the answers say without prompts.
    pub(crate) answers: Answers,
}

/// One split.
#[derive(Debug, Clone, Default)]
pub(crate) struct SplitFacts {
    pub(crate) rows: usize,
    pub(crate) tokens: usize,
    pub(crate) supervised: usize,
    /// Rows that equal an earlier one, token for token.
    pub(crate) duplicates: usize,
    /// Rows that supervise all that can be.
    pub(crate) unmasked: usize,
    /// Rows that supervise one token only.
    pub(crate) single: usize,
    /// Tokens with which nearly all rows begin.
    pub(crate) shared_start: usize,
    /// Three tokens in a row that nearly all rows have somewhere behind their beginning, as a template's do.
    pub(crate) shared_inside: bool,
    /// Rows that end in the most frequent last token.
    pub(crate) common_end: usize,
}

impl DatasetFacts {
    /// Reads all rows.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let train = Split::read(path, "train")?.examples;
        let has_valid = path.is_dir() && path.join("valid.parquet").is_file();
        let valid = if has_valid {
            Some(Split::read(path, "valid")?.examples)
        } else {
            None
        };
        let has_manifest = path.is_dir() && path.join(Manifest::FILE_NAME).is_file();
        let manifest = if has_manifest {
            Some(Manifest::read(path)?)
        } else {
            None
        };
        let seen: HashSet<String> = train.iter().map(question).collect();
        let leaks: Vec<&Example> = valid
            .iter()
            .flatten()
            .filter(|row| seen.contains(&question(row)))
            .collect();
        let (leaked, leak) = (
            leaks.len(),
            leaks
                .iter()
                .map(|row| row.prompt.clone())
                .find(|prompt| !prompt.is_empty()),
        );
        let held_out = valid.as_deref().unwrap_or_default();
        let answers = Answers::of(&train);
        let grown = grown(&train, held_out);
        let grown_prompt = grown.first().map(|row| row.prompt.clone());
        let grown = grown.len();
        let (train, valid) = (SplitFacts::of(&train), valid.as_deref().map(SplitFacts::of));
        let receipt = receipt_path(path)
            .is_file()
            .then(|| Receipt::load(path))
            .transpose()?;
        Ok(Self {
            path: path.to_path_buf(),
            manifest,
            receipt,
            train,
            valid,
            leaked,
            leak,
            grown,
            grown_prompt,
            answers,
        })
    }
}

/// What a row asks, so that two spellings of it are one: letters and digits of its prompt. Rows without text are told
/// apart by the ids before the first supervised one, or by all ids.
fn question(row: &Example) -> String {
    if !row.prompt.is_empty() {
        return row
            .prompt
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect();
    }
    let ids = if row.supervised() + 1 >= row.len() {
        &row.input_ids[..]
    } else {
        row.prompt_ids()
    };
    ids.iter().map(|id| format!("{id} ")).collect()
}

impl SplitFacts {
    fn of(rows: &[Example]) -> Self {
        let mut seen = HashSet::new();
        let mut ends: BTreeMap<u32, usize> = BTreeMap::new();
        rows.iter()
            .filter_map(|row| row.input_ids.last())
            .for_each(|&id| *ends.entry(id).or_default() += 1);
        Self {
            rows: rows.len(),
            tokens: rows.iter().map(Example::len).sum(),
            supervised: rows.iter().map(Example::supervised).sum(),
            duplicates: rows
                .iter()
                .filter(|row| !seen.insert(&row.input_ids))
                .count(),
            unmasked: rows
                .iter()
                .filter(|row| row.supervised() + 1 >= row.len())
                .count(),
            single: rows.iter().filter(|row| row.supervised() == 1).count(),
            shared_start: shared_start(rows),
            shared_inside: shared_inside(rows),
            common_end: ends.into_values().max().unwrap_or(0),
        }
    }

    /// Supervised tokens as a share of all.
    pub(crate) fn supervised_share(&self) -> f64 {
        self.supervised as f64 / self.tokens.max(1) as f64
    }
}

/// True if some three tokens stand, in this order, within nine of ten rows, elsewhere than at their beginning.
fn shared_inside(rows: &[Example]) -> bool {
    let mut found: HashMap<&[u32], usize> = HashMap::new();
    for row in rows {
        let inside: HashSet<&[u32]> = row.input_ids.windows(3).skip(1).collect();
        inside
            .into_iter()
            .for_each(|three| *found.entry(three).or_default() += 1);
        if found.len() > 1 << 20 {
            found.retain(|_, rows| *rows > 1); // the frequent ones stay
        }
    }
    rows.len() > 1 && found.into_values().any(|with| with * 10 >= rows.len() * 9)
}

/// Length of the longest beginning that nine of ten rows have.
fn shared_start(rows: &[Example]) -> usize {
    let enough = |n: usize| n * 10 >= rows.len() * 9;
    let mut alive: Vec<&Example> = rows.iter().collect();
    for place in 0.. {
        let mut next: HashMap<u32, Vec<&Example>> = HashMap::new();
        for row in &alive {
            if let Some(&id) = row.input_ids.get(place) {
                next.entry(id).or_default().push(row);
            }
        }
        match next.into_values().max_by_key(Vec::len) {
            Some(most) if rows.len() > 1 && enough(most.len()) => alive = most,
            _ => return place,
        }
    }
    0
}
