//! The names of splits, and how plain text is cut into rows of one length.
use crate::template::hex;
use crate::{Encoder, Example};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// A split's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SplitName {
    /// Rows to learn from.
    Train,
    /// Rows to watch the training with.
    Valid,
    /// Rows for the last word.
    Test,
}

/// Texts one after the other, cut into rows of `block` tokens, every token supervised; the last row may be shorter
/// (but not of a single token, from which nothing is learned).
pub fn text_blocks(encoder: &Encoder, texts: &[Example], block: usize) -> Vec<Example> {
    let mut blocks = Blocks::new(block);
    let mut rows = Vec::new();
    for text in texts {
        blocks.push(&text.input_ids);
        rows.extend(std::iter::from_fn(|| blocks.next(encoder)));
    }
    rows.extend(blocks.last(encoder));
    rows
}

/// The same text by text.
#[derive(Debug)]
pub struct Blocks {
    block: usize,
    /// Tokens that are in no row yet.
    ids: VecDeque<u32>,
}

impl Blocks {
    /// Before the first text.
    pub fn new(block: usize) -> Self {
        Self {
            block: block.max(2),
            ids: VecDeque::new(),
        }
    }

    /// The tokens of the next text.
    pub fn push(&mut self, ids: &[u32]) {
        self.ids.extend(ids);
    }

    /// The next whole row.
    pub fn next(&mut self, encoder: &Encoder) -> Option<Example> {
        let is_whole = self.ids.len() >= self.block;
        is_whole.then(|| row(encoder, self.ids.drain(..self.block).collect()))
    }

    /// The row of what is left.
    pub fn last(&mut self, encoder: &Encoder) -> Option<Example> {
        let ids: Vec<u32> = self.ids.drain(..).collect();
        (ids.len() > 1).then(|| row(encoder, ids))
    }
}

fn row(encoder: &Encoder, ids: Vec<u32>) -> Example {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let sha256 = hex(&Sha256::digest(bytes));
    Example {
        labels: ids.iter().map(|id| id.cast_signed()).collect(),
        id: sha256[..16].to_owned(),
        group: sha256,
        prompt: String::new(),
        completion: encoder.decode(&ids).unwrap_or_default(),
        input_ids: ids,
    }
}
