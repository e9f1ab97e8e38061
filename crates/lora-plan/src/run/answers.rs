//! How often the same answer comes, and held-out prompts that go on from rows that train.
use lora_data::{Example, IGNORE};
use std::collections::{HashMap, HashSet};

/// Letters and digits below which a text may begin another one by accident.
const LONG: usize = 12;

/// The answers of the rows that train.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// Rows of the most frequent one.
    pub(crate) most_common: usize,
    /// Its text.
    pub(crate) text: String,
}

impl Answers {
    pub(crate) fn of(train: &[Example]) -> Self {
        let mut counts: HashMap<Vec<u32>, usize> = HashMap::new();
        for row in train {
            *counts.entry(answer(row)).or_default() += 1;
        }
        let most = counts.iter().max_by_key(|(_, rows)| **rows);
        let (common, most_common) = most.map_or((&[][..], 0), |(ids, rows)| (&ids[..], *rows));
        let text = train.iter().find(|row| answer(row) == common);
        Self {
            most_common,
            text: text.map(|row| row.completion.clone()).unwrap_or_default(),
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
