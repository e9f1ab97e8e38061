//! Which rows belong together, so that no split knows the answers of another: rows with the same prompt but for case, spaces
//! and punctuation, conversations cut turn by turn, near copies, and rows that share a value of the user's own.
use crate::conversation::{Conversation, Learn};
use crate::messages::{calls, content, role};
use crate::minhash::{Near, Sketch};
use crate::record::{Content, Record};
use crate::seen::{Key, Seen, start};
use crate::spool::Spool;
use crate::template::{Message, hex};
use crate::{Example, SplitName};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use sha2::{Digest, Sha256};
use std::fmt::{Display, Formatter};
use std::io;

/// Up to how many units a share is an exact count: chance would often leave a split of them empty.
const FEW: usize = 30;

/// sha256 of a rendered prompt: what a unit is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group([u8; 32]);

impl Group {
    /// Of the 64 digits that rows are written with.
    fn read(digits: &str) -> Self {
        let digit = |at: usize| {
            let digits = digits.get(2 * at..2 * at + 2);
            digits.and_then(|two| u8::from_str_radix(two, 16).ok())
        };
        Self(std::array::from_fn(|at| digit(at).unwrap_or(0)))
    }
}

impl Display for Group {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// By what a row belongs to others.
#[derive(Debug)]
pub struct Belonging {
    group: Group,
    keys: Vec<Key>,
    sketch: Option<Sketch>,
}

impl Belonging {
    /// Of a record, what came of it, and the user's own key of what belongs together. `near` is what [`Units::new`] was
    /// given.
    pub fn of(
        record: &Record,
        example: &Example,
        learn: &Learn,
        own: Option<&str>,
        near: Option<f64>,
    ) -> Self {
        let (prompt, mut keys) = keys(record, learn);
        keys.extend(own.map(|own| key("own", [own])));
        Self {
            group: Group::read(&example.group),
            keys,
            sketch: near.map(|least| Sketch::of(prompt, least)),
        }
    }
}

/// Joins rows into units. A row takes some 80 bytes.
#[derive(Debug)]
pub struct Units {
    /// For each row the first row of its unit known so far, and in the end its root.
    parents: Vec<u32>,
    /// The keys of rows, and the row that each was first seen at.
    keys: Seen,
    first: Vec<u32>,
    near: Option<Near>,
    /// Rows that were joined to an earlier one of another prompt.
    joined: usize,
    /// Hash of each row's rendered prompt, and the first row of each.
    groups: Vec<Group>,
    first_of_group: HashTable<u32>,
}

impl Units {
    /// With `near`, prompts that share at least this part of their pieces (Jaccard) are one; their texts wait in the spool.
    pub fn new(near: Option<f64>, texts: Spool) -> Self {
        Self {
            parents: Vec::new(),
            keys: Seen::default(),
            first: Vec::new(),
            near: near.map(|least| Near::new(least, texts)),
            joined: 0,
            groups: Vec::new(),
            first_of_group: HashTable::new(),
        }
    }

    /// The next row.
    ///
    /// # Errors
    /// When the spool can't be read or written.
    pub fn add(&mut self, belonging: Belonging) -> io::Result<()> {
        let row = self.parents.len();
        self.parents.push(row as u32);
        self.groups.push(belonging.group);
        let same = self.first_of(row);
        self.unite(row, same);
        for key in belonging.keys {
            let (number, is_new) = self.keys.number(key);
            if is_new {
                self.first.push(row as u32);
            }
            self.unite(row, self.first[number] as usize);
        }
        if let (Some(mut near), Some(sketch)) = (self.near.take(), belonging.sketch) {
            near.add(sketch, |other, is_near| {
                // Of rows that are one already nothing is to be known.
                if self.root(row) != self.root(other) && is_near()? {
                    self.unite(row, other);
                }
                Ok(())
            })?;
            self.near = Some(near);
        }
        Ok(())
    }

    /// The first row with the rendered prompt of this one.
    fn first_of(&mut self, row: usize) -> usize {
        let groups = &self.groups;
        let group = groups[row];
        let hash = |at: &u32| start(&groups[*at as usize].0);
        let same = |at: &u32| groups[*at as usize] == group;
        match self.first_of_group.entry(start(&group.0), same, hash) {
            Entry::Occupied(first) => *first.get() as usize,
            Entry::Vacant(entry) => {
                entry.insert(row as u32);
                row
            }
        }
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        self.joined += usize::from(self.groups[a] != self.groups[b]);
        // The earlier row stands for both, so that rows added later move none.
        self.parents[a.max(b)] = a.min(b) as u32;
    }

    fn root(&mut self, mut row: usize) -> usize {
        while self.parents[row] as usize != row {
            let above = self.parents[row] as usize;
            self.parents[row] = self.parents[above];
            row = self.parents[row] as usize;
        }
        row
    }

    /// How often rows of different prompts were joined.
    pub fn joined(&self) -> usize {
        self.joined
    }

    /// The units, once all rows are there.
    pub fn finish(mut self) -> Joined {
        for row in 0..self.parents.len() {
            self.parents[row] = self.root(row) as u32;
        }
        Joined {
            roots: self.parents,
            groups: self.groups,
        }
    }
}

/// Rows that were joined.
#[derive(Debug)]
pub struct Joined {
    roots: Vec<u32>,
    groups: Vec<Group>,
}

impl Joined {
    /// The number of a row's unit: that of its first row.
    pub fn unit(&self, row: usize) -> usize {
        self.roots[row] as usize
    }

    /// The key of a row's unit: the hash of the prompt of its first row.
    pub fn key(&self, row: usize) -> &Group {
        &self.groups[self.unit(row)]
    }
}

/// The split of each of the rows with these unit keys: a unit's hash, keyed by the seed, as a share of 1. A unit lies in
/// one split as a whole and stays there when rows are added; of fewer than 30 units the share is an exact count.
pub fn splits_of<U: Ord + Display>(
    units: &[U],
    seed: u64,
    valid: f64,
    test: f64,
) -> Vec<SplitName> {
    let share = |unit: &U| lora_random::share("split", seed, &unit.to_string());
    let in_order = |a: &(f64, &U), b: &(f64, &U)| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1));
    let places: Vec<(f64, &U)> = units.iter().map(|unit| (share(unit), unit)).collect();
    let mut ranked = places.clone();
    ranked.sort_unstable_by(in_order);
    ranked.dedup_by(|a, b| a.1 == b.1);
    let count = ranked.len();
    let wanted = |part: f64| match part > 0.0 {
        true => ((part * count as f64).round() as usize).max(1),
        false => 0,
    };
    let (mut valid_end, mut test_end) = (
        ranked.partition_point(|(share, _)| *share < valid),
        ranked.partition_point(|(share, _)| *share < valid + test),
    );
    let is_short = (valid > 0.0 && valid_end == 0) || (test > 0.0 && test_end == valid_end);
    // A single unit can't be divided; of several one is left to train on.
    if count > 1 && (count < FEW || is_short) {
        valid_end = wanted(valid).min(count - 1);
        test_end = (valid_end + wanted(test)).min(count - 1);
    }
    let is_before = |place: &(f64, &U), end: usize| {
        let end = ranked.get(end);
        end.is_none_or(|end| in_order(place, end).is_lt())
    };
    let name = |place: &(f64, &U)| match () {
        () if is_before(place, valid_end) => SplitName::Valid,
        () if is_before(place, test_end) => SplitName::Test,
        () => SplitName::Train,
    };
    places.iter().map(name).collect()
}

/// A row's prompt without case, spaces and punctuation, and the keys by which it belongs to others.
fn keys(record: &Record, learn: &Learn) -> (String, Vec<Key>) {
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
fn of_chat(chat: &Conversation, learn: &Learn) -> (String, Vec<Key>) {
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
    let mut keys: Vec<Key> = answers.iter().map(|&at| key("chat", upto(at))).collect();
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

fn key<'t>(kind: &str, texts: impl IntoIterator<Item = &'t str>) -> Key {
    let mut hash = Sha256::new_with_prefix(kind);
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let mut key = Key::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}
