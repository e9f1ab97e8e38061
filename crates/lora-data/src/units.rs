//! Which rows belong together, so that no split knows the answers of another: rows with the same prompt but for case, spaces
//! and punctuation, conversations cut turn by turn, near copies, and rows that share a value of the user's own.
use crate::conversation::{Conversation, Learn};
use crate::messages::{calls, content, role};
use crate::minhash::{Near, Sketch};
use crate::record::{Content, Record};
use crate::seen::Key;
use crate::sharing::Sharing;
use crate::spool::Spool;
use crate::template::{Message, hex};
use crate::{Example, SplitName};
use sha2::{Digest, Sha256};
use std::fmt::{Display, Formatter};
use std::io;

/// Up to how many units a share is an exact count: chance would often leave a split of them empty.
const FEW: usize = 30;

/// Hashes of prompts that are read at a time.
const BLOCK: usize = 1024;

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

/// Joins rows into units. A row takes 4 bytes; its keys wait on disk.
#[derive(Debug)]
pub struct Units {
    /// For each row the first row of its unit known so far, and in the end its root.
    parents: Vec<u32>,
    /// Rows with one rendered prompt, and those that share another key.
    same: Sharing,
    keys: Sharing,
    near: Option<Near>,
    /// Hash of each row's rendered prompt, one after the other.
    groups: Spool,
}

impl Units {
    /// With `near`, prompts that share at least this part of their pieces (Jaccard) are one. What is not held in memory
    /// waits in spools.
    pub fn new(near: Option<f64>, spool: impl Fn() -> Spool) -> Self {
        Self {
            parents: Vec::new(),
            same: Sharing::new(spool()),
            keys: Sharing::new(spool()),
            near: near.map(|least| Near::new(least, spool())),
            groups: spool(),
        }
    }

    /// The next row.
    ///
    /// # Errors
    /// When a spool can't be read or written.
    pub fn add(&mut self, belonging: Belonging) -> io::Result<()> {
        let row = self.parents.len() as u32;
        self.parents.push(row);
        let Group(group) = belonging.group;
        self.groups.push(&group)?;
        self.same.add(&std::array::from_fn(|at| group[at]), row)?;
        for key in &belonging.keys {
            self.keys.add(key, row)?;
        }
        let (Some(near), Some(sketch)) = (&mut self.near, belonging.sketch) else {
            return Ok(());
        };
        let parents = &mut self.parents;
        near.add(sketch, |other, is_near| {
            let other = other as u32;
            // Of rows that are one already nothing is to be known.
            if root(parents, row) != root(parents, other) && is_near()? {
                unite(parents, row, other);
            }
            Ok(())
        })
    }

    /// The units, once all rows are there.
    ///
    /// # Errors
    /// When a spool can't be read.
    pub fn finish(self) -> io::Result<Joined> {
        let mut parents = self.parents;
        let mut prompts = parents.len();
        self.same.each(|first, row| {
            prompts -= 1;
            unite(&mut parents, first, row);
        })?;
        self.keys
            .each(|first, row| unite(&mut parents, first, row))?;
        let mut units = 0;
        for row in 0..parents.len() as u32 {
            let root = root(&mut parents, row);
            units += usize::from(root == row);
            parents[row as usize] = root;
        }
        Ok(Joined {
            roots: parents,
            joined: prompts - units,
            groups: self.groups,
            block: Block::default(),
        })
    }
}

/// Makes one unit of those of two rows. The earlier row stands for both, so that rows added later move none.
fn unite(parents: &mut [u32], a: u32, b: u32) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b) as usize] = a.min(b);
}

fn root(parents: &mut [u32], mut row: u32) -> u32 {
    while parents[row as usize] != row {
        let above = parents[row as usize];
        parents[row as usize] = parents[above as usize];
        row = parents[row as usize];
    }
    row
}

/// Rows that were joined.
#[derive(Debug)]
pub struct Joined {
    roots: Vec<u32>,
    joined: usize,
    groups: Spool,
    block: Block,
}

/// Hashes of rows that follow each other, as they were read.
#[derive(Debug, Default)]
struct Block {
    start: usize,
    groups: Vec<[u8; 32]>,
}

impl Joined {
    /// How often rows of different prompts were joined.
    pub fn joined(&self) -> usize {
        self.joined
    }

    /// The number of a row's unit: that of its first row.
    pub fn unit(&self, row: usize) -> usize {
        self.roots[row] as usize
    }

    /// The key of a row's unit: the hash of the prompt of its first row. Quick where rows are asked for in their order.
    ///
    /// # Errors
    /// When the spool can't be read.
    pub fn key(&mut self, row: usize) -> io::Result<Group> {
        let unit = self.unit(row);
        let start = row - row % BLOCK;
        if self.block.groups.is_empty() || self.block.start != start {
            let mut groups = vec![[0; 32]; BLOCK.min(self.roots.len() - start)];
            let bytes = groups.as_flattened_mut();
            self.groups.read(32 * start as u64, bytes)?;
            self.block = Block { start, groups };
        }
        let near = unit.checked_sub(start);
        if let Some(group) = near.and_then(|at| self.block.groups.get(at)) {
            return Ok(Group(*group));
        }
        let mut group = [0; 32];
        self.groups.read(32 * unit as u64, &mut group)?;
        Ok(Group(group))
    }

    /// The split of each row that is `divided`: a unit's hash, keyed by the seed, as a share of 1. A unit lies in one split
    /// as a whole and stays there when rows are added; of fewer than 30 units the shares are exact counts.
    ///
    /// # Errors
    /// When the spool can't be read.
    pub fn divide(
        &mut self,
        is_divided: impl Fn(usize) -> bool,
        (seed, valid, test): (u64, f64, f64),
    ) -> io::Result<Vec<Option<SplitName>>> {
        let rows = self.roots.len();
        let mut is_known = vec![false; rows];
        let (mut units, mut shares) = (Vec::new(), Vec::new());
        for row in (0..rows).filter(|row| is_divided(*row)) {
            let unit = self.unit(row);
            if !std::mem::replace(&mut is_known[unit], true) {
                units.push(self.roots[row]);
                shares.push(share_of(&self.key(row)?, seed));
            }
        }
        drop(is_known);
        let mut of_units = vec![None; rows];
        for (unit, split) in units.into_iter().zip(splits_of(&shares, valid, test)) {
            of_units[unit as usize] = Some(split);
        }
        let split = |row: usize| of_units[self.unit(row)].filter(|_| is_divided(row));
        Ok((0..rows).map(split).collect())
    }
}

/// A unit's number between 0 and 1, by which it is put into a split.
pub fn share_of(key: &impl Display, seed: u64) -> f64 {
    lora_random::share("split", seed, &key.to_string())
}

/// The splits of units with these shares. If there are few, or a split would be left without any, the shares of the splits
/// are counts, of units in the order of their shares.
pub fn splits_of(shares: &[f64], valid: f64, test: f64) -> Vec<SplitName> {
    let count = shares.len();
    let mut ranked: Vec<u32> = (0..count as u32).collect();
    ranked.sort_unstable_by(|a, b| {
        let share = |at: &u32| shares[*at as usize];
        share(a).total_cmp(&share(b)).then(a.cmp(b))
    });
    let below = |end: f64| ranked.partition_point(|at| shares[*at as usize] < end);
    let wanted = |part: f64| match part > 0.0 {
        true => ((part * count as f64).round() as usize).max(1),
        false => 0,
    };
    let (mut valid_end, mut test_end) = (below(valid), below(valid + test));
    let is_short = (valid > 0.0 && valid_end == 0) || (test > 0.0 && test_end == valid_end);
    // A single unit can't be divided; of several one is left to train on.
    if count > 1 && (count < FEW || is_short) {
        valid_end = wanted(valid).min(count - 1);
        test_end = (valid_end + wanted(test)).min(count - 1);
    }
    let mut splits = vec![SplitName::Train; count];
    for (rank, at) in ranked.iter().enumerate().take(valid_end.max(test_end)) {
        splits[*at as usize] = match rank < valid_end {
            true => SplitName::Valid,
            false => SplitName::Test,
        };
    }
    splits
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
