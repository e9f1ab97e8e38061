//! Which rows belong together, so that no split knows the answers of another: rows with the same prompt but for case, spaces
//! and punctuation, conversations cut turn by turn, near copies, and rows that share a value of the user's own.
use crate::conversation::{Conversation, Learn};
use crate::messages::{calls, content, role};
use crate::minhash::Near;
use crate::record::{Content, Record};
use crate::template::Message;
use crate::{Example, SplitName};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Up to how many units a share is an exact count: chance would often leave a split of them empty.
const FEW: usize = 30;

/// Joins rows into units.
#[derive(Debug, Default)]
pub struct Units {
    /// For each row the first row of its unit known so far, and in the end its root.
    parents: Vec<usize>,
    /// The row that a key was first seen at.
    first: HashMap<[u8; 16], usize>,
    near: Option<Near>,
    /// Rows that were joined to an earlier one of another prompt.
    joined: usize,
    /// Hash of each row's rendered prompt.
    groups: Vec<String>,
}

impl Units {
    /// With `near`, prompts that share at least this part of their pieces (Jaccard) are one.
    pub fn new(near: Option<f64>) -> Self {
        Self {
            near: near.map(Near::new),
            ..Self::default()
        }
    }

    /// The next row: its record, what came of it, and the user's own key of what belongs together.
    pub fn add(&mut self, record: &Record, example: &Example, learn: &Learn, own: Option<&str>) {
        let row = self.parents.len();
        self.parents.push(row);
        self.groups.push(example.group.clone());
        self.join(row, key("group", [example.group.as_str()]));
        let (prompt, keys) = keys(record, learn);
        for key in keys {
            self.join(row, key);
        }
        if let Some(own) = own {
            self.join(row, key("own", [own]));
        }
        if let Some(near) = &mut self.near {
            for other in near.add(row, &prompt) {
                self.unite(row, other);
            }
        }
    }

    fn join(&mut self, row: usize, key: [u8; 16]) {
        let first = *self.first.entry(key).or_insert(row);
        self.unite(row, first);
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        self.joined += usize::from(self.groups[a] != self.groups[b]);
        // The earlier row stands for both, so that rows added later move none.
        self.parents[a.max(b)] = a.min(b);
    }

    fn root(&mut self, mut row: usize) -> usize {
        while self.parents[row] != row {
            self.parents[row] = self.parents[self.parents[row]];
            row = self.parents[row];
        }
        row
    }

    /// How often rows of different prompts were joined.
    pub fn joined(&self) -> usize {
        self.joined
    }

    /// For each row the key of its unit: the hash of the prompt of its first row.
    pub fn keys(mut self) -> Vec<String> {
        (0..self.parents.len())
            .map(|row| {
                let root = self.root(row);
                self.groups[root].clone()
            })
            .collect()
    }
}

/// The split of each of the rows with these unit keys: a unit's hash, keyed by the seed, as a share of 1. A unit lies in
/// one split as a whole and stays there when rows are added; of fewer than 30 units the share is an exact count.
pub fn splits_of(units: &[String], seed: u64, valid: f64, test: f64) -> Vec<SplitName> {
    let share = |unit: &str| lora_random::share("split", seed, unit);
    let mut ranked: Vec<&String> = units.iter().collect();
    ranked.sort_by(|a, b| share(a).total_cmp(&share(b)).then_with(|| a.cmp(b)));
    ranked.dedup();
    let count = ranked.len();
    let wanted = |part: f64| match part > 0.0 {
        true => ((part * count as f64).round() as usize).max(1),
        false => 0,
    };
    let (mut valid_end, mut test_end) = (
        ranked.partition_point(|unit| share(unit) < valid),
        ranked.partition_point(|unit| share(unit) < valid + test),
    );
    let is_short = (valid > 0.0 && valid_end == 0) || (test > 0.0 && test_end == valid_end);
    // A single unit can't be divided; of several one is left to train on.
    if count > 1 && (count < FEW || is_short) {
        valid_end = wanted(valid).min(count - 1);
        test_end = (valid_end + wanted(test)).min(count - 1);
    }
    let ranks: HashMap<&str, usize> = ranked
        .iter()
        .enumerate()
        .map(|(rank, unit)| (unit.as_str(), rank))
        .collect();
    let name = |unit: &String| match ranks[unit.as_str()] {
        rank if rank < valid_end => SplitName::Valid,
        rank if rank < test_end => SplitName::Test,
        _ => SplitName::Train,
    };
    units.iter().map(name).collect()
}

/// A row's prompt without case, spaces and punctuation, and the keys by which it belongs to others.
fn keys(record: &Record, learn: &Learn) -> (String, Vec<[u8; 16]>) {
    match &record.content {
        Content::Text(text) => (plain(text), vec![key("text", [plain(text).as_str()])]),
        Content::Pair { prompt, .. } => {
            let prompt = plain(prompt);
            let key = key("prompt", [prompt.as_str()]);
            (prompt, vec![key])
        }
        Content::Chat(chat) => of_chat(chat, learn),
    }
}

/// A chat is its last prompt, and all that it has up to each of its answers: a conversation cut turn by turn shares these.
fn of_chat(chat: &Conversation, learn: &Learn) -> (String, Vec<[u8; 16]>) {
    let length = chat
        .learned(learn)
        .map_or(chat.messages.len(), |(_, length)| length);
    let messages = &chat.messages[..length];
    let is_said = |message: &&Message| role(message) != "system";
    let texts: Vec<String> = messages.iter().filter(is_said).map(text).collect();
    let answers = messages.iter().filter(is_said).enumerate();
    let answers = answers.filter(|(_, message)| role(message) == "assistant");
    let answers: Vec<usize> = answers.map(|(at, _)| at).collect();
    let prompt = &texts[..answers.last().copied().unwrap_or(0)];
    let upto = |at: usize| texts[..=at].iter().map(String::as_str);
    let mut keys: Vec<[u8; 16]> = answers.iter().map(|&at| key("chat", upto(at))).collect();
    keys.push(key("prompt", prompt.iter().map(String::as_str)));
    (prompt.concat(), keys)
}

fn text(message: &Message) -> String {
    let calls = calls(message)
        .iter()
        .map(|call| call["function"].to_string());
    plain(&(content(message).to_owned() + &calls.collect::<String>()))
}

/// Letters and digits in lower case; a text without any as it is.
fn plain(text: &str) -> String {
    let letters: String = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    match letters.is_empty() {
        true => text.to_owned(),
        false => letters,
    }
}

fn key<'t>(kind: &str, texts: impl IntoIterator<Item = &'t str>) -> [u8; 16] {
    let mut hash = Sha256::new_with_prefix(kind);
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}
