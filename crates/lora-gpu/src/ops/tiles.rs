//! What the blocks of attention work on: tiles of queries with the keys that they see, and tiles of keys with the queries by
//! which they are seen.
use crate::{Dtype, Error, Gpu, Tensor};
use std::ops::Range;

/// Rows of a tile of queries, and of one of keys at most.
const TILE: usize = 64;

/// The rows of a segment's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Neighbouring rows from this one on.
    Rows(usize),
    /// Rows of a list, from this place on.
    Listed(usize),
}

/// Neighbouring queries, and the keys that they see: query i sees keys 0..=past + i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Row of the first query.
    pub first: usize,
    /// Queries.
    pub queries: usize,
    /// Keys before the first query's own.
    pub past: usize,
    /// Where the keys are.
    pub keys: Keys,
}

impl Segment {
    /// Keys that its last query sees.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.past + self.queries
    }

    /// Neighbouring rows among its keys, with the position of the first.
    fn runs(&self, listed: &[u32]) -> Vec<(Range<usize>, usize)> {
        let place = match self.keys {
            Keys::Rows(first) => return vec![(first..first + self.seen(), 0)],
            Keys::Listed(place) => place,
        };
        let mut runs: Vec<(Range<usize>, usize)> = Vec::new();
        for (position, &row) in listed[place..place + self.seen()].iter().enumerate() {
            let row = row as usize;
            match runs.last_mut() {
                Some((rows, _)) if rows.end == row => rows.end += 1,
                _ => runs.push((row..row + 1, position)),
            }
        }
        runs
    }
}

/// What the blocks of a batch's attention work on: tiles of queries with the keys that they see, and tiles of keys with the
/// queries by which they are seen. On the device.
#[derive(Debug, Clone)]
pub struct AttentionTiles {
    pub(super) queries: Tensor,
    pub(super) query_tiles: usize,
    pub(super) keys: Tensor,
    pub(super) key_tiles: usize,
    pub(super) visits: Tensor,
    pub(super) listed: Tensor,
    pub(super) rows: usize,
}

/// The numbers of tiles: of queries (first row, queries, position, keys, whether these are listed), of keys (first row, keys,
/// visits from and to), and of visits (first row, queries, their position, the keys' position).
#[derive(Debug, Default, PartialEq, Eq)]
struct Numbers {
    queries: Vec<[u32; 5]>,
    keys: Vec<[u32; 4]>,
    visits: Vec<[u32; 4]>,
}

impl Numbers {
    fn of(segments: &[Segment], listed: &[u32]) -> Self {
        let mut numbers = Self::default();
        for segment in segments {
            for from in (0..segment.queries).step_by(TILE) {
                let (keys, is_listed) = match segment.keys {
                    Keys::Rows(first) => (first, 0),
                    Keys::Listed(place) => (place, 1),
                };
                let count = TILE.min(segment.queries - from);
                let sizes = [segment.first + from, count, segment.past + from, keys];
                let [first, count, position, keys] = sizes.map(|n| n as u32);
                let tile = [first, count, position, keys, is_listed];
                numbers.queries.push(tile);
            }
        }
        // Those that see most come first, so that none of them is left at the end.
        let seen = |tile: &[u32; 5]| tile[1] + tile[2];
        numbers
            .queries
            .sort_by_key(|tile| std::cmp::Reverse(seen(tile)));
        numbers.add_keys(segments, listed);
        numbers
    }

    /// Tiles of keys are cut where the rows of some segment's keys begin or end, so that a segment sees a whole tile or none
    /// of it.
    fn add_keys(&mut self, segments: &[Segment], listed: &[u32]) {
        let runs: Vec<_> = segments.iter().map(|s| s.runs(listed)).collect();
        let all = || runs.iter().flatten();
        let mut cuts: Vec<usize> = all().flat_map(|(rows, _)| [rows.start, rows.end]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        for rows in cuts.windows(2) {
            for first in (rows[0]..rows[1]).step_by(TILE) {
                let count = TILE.min(rows[1] - first);
                let visits = self.visits.len() as u32;
                for (segment, runs) in segments.iter().zip(&runs) {
                    for (rows, position) in runs.iter().filter(|(rows, _)| rows.contains(&first)) {
                        let key_position = position + first - rows.start;
                        let sizes = [segment.first, segment.queries, segment.past, key_position];
                        self.visits.push(sizes.map(|n| n as u32));
                    }
                }
                let visits_end = self.visits.len() as u32;
                if visits < visits_end {
                    let tile = [first as u32, count as u32, visits, visits_end];
                    self.keys.push(tile);
                }
            }
        }
    }
}

impl Gpu {
    /// What attention works on in a batch of `rows` rows, those of whose keys that are no neighbours are `listed`.
    ///
    /// # Errors
    /// If so much memory is not free, or the driver fails.
    ///
    /// # Panics
    /// If a segment has rows that are not there.
    pub fn attention_tiles(
        &self,
        segments: &[Segment],
        listed: &[u32],
        rows: usize,
    ) -> Result<AttentionTiles, Error> {
        for segment in segments {
            let end = segment.runs(listed).iter().map(|(rows, _)| rows.end).max();
            let end = end.unwrap_or(0).max(segment.first + segment.queries);
            assert!(end <= rows, "{segment:?} of {rows} rows");
        }
        let numbers = Numbers::of(segments, listed);
        Ok(AttentionTiles {
            queries: self.uploaded(Dtype::U32, numbers.queries.as_flattened())?,
            query_tiles: numbers.queries.len(),
            keys: self.uploaded(Dtype::U32, numbers.keys.as_flattened())?,
            key_tiles: numbers.keys.len(),
            visits: self.uploaded(Dtype::U32, numbers.visits.as_flattened())?,
            listed: self.uploaded(Dtype::U32, listed)?,
            rows,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_sees_a_whole_tile_of_keys_or_none_of_it() {
        // 70 rows that two others begin with: one sees 66 of them, the other all.
        let listed: Vec<u32> = (0..66).chain(70..75).collect();
        let of = |first, queries, past, keys| Segment {
            first,
            queries,
            past,
            keys,
        };
        let segments = [
            of(0, 70, 0, Keys::Rows(0)),
            of(70, 5, 66, Keys::Listed(0)),
            of(75, 3, 0, Keys::Rows(75)),
        ];
        let numbers = Numbers::of(&segments, &listed);
        let tiles = vec![
            [70, 5, 66, 0, 1],
            [64, 6, 64, 0, 0],
            [0, 64, 0, 0, 0],
            [75, 3, 0, 75, 0],
        ];
        assert_eq!(numbers.queries, tiles);
        let keys = vec![
            [0, 64, 0, 2],
            [64, 2, 2, 4],
            [66, 4, 4, 5],
            [70, 5, 5, 6],
            [75, 3, 6, 7],
        ];
        assert_eq!(numbers.keys, keys);
        let visits = vec![
            [0, 70, 0, 0],
            [70, 5, 66, 0],
            [0, 70, 0, 64],
            [70, 5, 66, 64],
            [0, 70, 0, 66],
            [70, 5, 66, 66],
            [75, 3, 0, 0],
        ];
        assert_eq!(numbers.visits, visits);
    }
}
