//! The blocks in which attention by scores is computed: some queries of a segment with the keys that they see.
use lora_gpu::{Scores, Segment};
use std::ops::Range;

/// Queries at a time, at most.
const QUERIES: usize = 2048;
/// Values of scores that exist at once, about: fewer are read from a card's cache, but ask for more products; of a quarter to
/// twice as many none was faster.
const SCORES: usize = 1 << 25;
/// Keys of a block are a multiple of this many where there are so many rows: rows of scores stay aligned.
const ALIGNED: usize = 8;

/// Queries of a segment that are computed at once.
fn step(heads: usize, keys: usize) -> usize {
    (SCORES / (heads * keys).max(1)).clamp(16, QUERIES)
}

/// Values of the scores of the largest block of a segment.
pub(super) fn scores_of(heads: usize, segment: &Segment) -> usize {
    scores(heads, segment.seen(), segment.queries)
}

fn scores(heads: usize, keys: usize, queries: usize) -> usize {
    heads * (keys + ALIGNED) * step(heads, keys).min(queries)
}

/// The same for a sequence of this length that shares nothing.
pub(super) fn scores_of_length(heads: usize, length: usize) -> usize {
    scores(heads, length, length)
}

/// Some queries of a segment, and the keys that they see.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Rows of the queries.
    pub(super) queries: Range<usize>,
    /// Which of the segment's keys.
    pub(super) keys: Range<usize>,
    pub(super) shape: Scores,
}

/// The blocks of a segment for whose keys there are `rows` rows: its own and others behind, which nobody sees.
pub(super) fn blocks(segment: Segment, shape: Scores, rows: usize) -> impl Iterator<Item = Block> {
    let step = step(shape.heads, segment.seen());
    (0..segment.queries).step_by(step).map(move |from| {
        let to = segment.queries.min(from + step);
        let seen = segment.past + to;
        let end = seen.next_multiple_of(ALIGNED).min(rows.max(seen));
        let start = match shape.window {
            Some(window) => (segment.past + from + 1).saturating_sub(window),
            None => 0,
        };
        let start = start / ALIGNED * ALIGNED;
        Block {
            queries: segment.first + from..segment.first + to,
            keys: start..end,
            shape: Scores {
                queries: to - from,
                keys: end - start,
                past: segment.past + from - start,
                ..shape
            },
        }
    })
}
