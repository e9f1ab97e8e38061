//! What the answers of a dataset say without their prompts: how often the same one comes, how well it can be guessed, and
//! held-out prompts that go on from rows that train.
use lora_data::{Example, IGNORE};
use std::collections::{HashMap, HashSet};

/// Letters and digits below which a text may begin another one by accident.
const LONG: usize = 12;

/// Answers that repeat are a choice among few: rows for each that a guess needs.
const ROWS_AN_ANSWER: usize = 5;

/// The answers of the rows that train, and of those held out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// Different answers that train.
    pub(crate) different: usize,
    /// Rows of the most frequent one.
    pub(crate) most_common: usize,
    /// Its text.
    pub(crate) text: String,
    /// Loss (nats a supervised token) on the held-out rows of who knows how often each answer comes and reads no prompt;
    /// None where answers don't repeat, or one of those held out never trains.
    pub(crate) guess: Option<f64>,
}

impl Answers {
    pub(crate) fn of(train: &[Example], valid: &[Example]) -> Self {
        let mut counts: HashMap<Vec<u32>, usize> = HashMap::new();
        for row in train {
            *counts.entry(answer(row)).or_default() += 1;
        }
        let most = counts.iter().max_by_key(|(_, rows)| **rows);
        let (common, most_common) = most.map_or((&[][..], 0), |(ids, rows)| (&ids[..], *rows));
        let text = train.iter().find(|row| answer(row) == common);
        Self {
            different: counts.len(),
            most_common,
            text: text.map(|row| row.completion.clone()).unwrap_or_default(),
            guess: guess(&counts, train.len(), valid),
        }
    }
}

/// The ids that are learned of a row.
fn answer(row: &Example) -> Vec<u32> {
    let ids = row.input_ids.iter().zip(&row.labels);
    ids.filter(|(_, label)| **label != IGNORE)
        .map(|(id, _)| *id)
        .collect()
}

/// Mean −ln p of the held-out answers, p being their share of those that train, a supervised token.
fn guess(counts: &HashMap<Vec<u32>, usize>, rows: usize, valid: &[Example]) -> Option<f64> {
    if counts.len() < 2 || counts.len() * ROWS_AN_ANSWER > rows || valid.is_empty() {
        return None;
    }
    let mut nats = 0.0;
    for row in valid {
        nats -= (*counts.get(&answer(row))? as f64 / rows as f64).ln();
    }
    let tokens: usize = valid.iter().map(Example::supervised).sum();
    Some(nats / tokens.max(1) as f64)
}

/// Held-out rows whose prompt begins with the prompt and answer of a row that trains, or the other way round: turns of
/// one chat on both sides.
pub(crate) fn grown<'e>(train: &[Example], valid: &'e [Example]) -> Vec<&'e Example> {
    let whole = |rows: &[Example]| -> HashSet<u64> {
        let wholes = rows.iter().filter(|row| !row.prompt.is_empty());
        let wholes = wholes.filter_map(|row| beginnings(&[&row.prompt, &row.completion]).pop());
        wholes.collect()
    };
    let trained = whole(train);
    let begins = |row: &&Example| {
        beginnings(&[&row.prompt])
            .iter()
            .any(|b| trained.contains(b))
    };
    let held_out: HashMap<u64, usize> = valid
        .iter()
        .enumerate()
        .filter(|(_, row)| !row.prompt.is_empty())
        .filter_map(|(at, row)| Some((beginnings(&[&row.prompt, &row.completion]).pop()?, at)))
        .collect();
    let of_train = train.iter().flat_map(|row| beginnings(&[&row.prompt]));
    let mut places: HashSet<usize> = of_train.filter_map(|b| held_out.get(&b).copied()).collect();
    let forward = valid.iter().enumerate().filter(|(_, row)| begins(row));
    places.extend(forward.map(|(at, _)| at));
    let mut places: Vec<usize> = places.into_iter().collect();
    places.sort_unstable();
    places.into_iter().map(|at| &valid[at]).collect()
}

/// A number for each beginning of a text's letters and digits that is long enough, the whole last (FNV-1a).
fn beginnings(texts: &[&str]) -> Vec<u64> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut made = Vec::new();
    let letters = texts.iter().flat_map(|text| text.chars());
    let letters = letters
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase);
    for (at, letter) in letters.enumerate() {
        hash = (hash ^ u64::from(u32::from(letter))).wrapping_mul(0x0100_0000_01b3);
        if at + 1 >= LONG {
            made.push(hash);
        }
    }
    made
}
