//! The names of splits, and how plain text is cut into rows of one length.
use crate::template::hex;
use crate::{Encoder, Example};
use sha2::{Digest, Sha256};

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
    let stream: Vec<u32> = texts
        .iter()
        .flat_map(|text| text.input_ids.iter().copied())
        .collect();
    let row = |ids: &[u32]| {
        let text = encoder.decode(ids).unwrap_or_default();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let sha256 = hex(&Sha256::digest(bytes));
        Example {
            input_ids: ids.to_vec(),
            labels: ids.iter().map(|id| id.cast_signed()).collect(),
            id: sha256[..16].to_owned(),
            group: sha256,
            prompt: String::new(),
            completion: text,
        }
    };
    stream
        .chunks(block.max(2))
        .filter(|ids| ids.len() > 1)
        .map(row)
        .collect()
}
