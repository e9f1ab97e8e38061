//! Attention whose scores are never in memory, and what its blocks work on.
use super::{Args, Grid, check_mat, check_tensor};
use crate::{Dtype, Error, Gpu, Mat, Tensor};
use std::ops::Range;

/// Rows of a tile of queries, and of one of keys at most.
const TILE: usize = 64;
/// Threads of a block.
const THREADS: u32 = 128;
/// Values of a row that are copied at once: a head has a multiple of so many.
const CHUNK: usize = 8;

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
    queries: Tensor,
    query_tiles: usize,
    keys: Tensor,
    key_tiles: usize,
    visits: Tensor,
    listed: Tensor,
    rows: usize,
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

/// Attention of a batch. q, k and v of all heads stand side by side in a row.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'t> {
    /// Rotated queries and keys, and values: activations, (T, (heads + 2·kv_heads)·d).
    pub qkv: Mat<'t>,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys.
    pub kv_heads: usize,
    /// d.
    pub head_dim: usize,
    /// Keys that a query sees at most, itself the last.
    pub window: Option<usize>,
    /// Factor of the raw q·k.
    pub scale: f32,
    /// c of c·tanh(s/c), to which scaled scores s are capped.
    pub softcap: Option<f32>,
    /// A score of each head, f32 (heads), that its queries see beside their keys and that has no value (attention sinks).
    pub sinks: Option<&'t Tensor>,
    /// Who sees whom.
    pub tiles: &'t AttentionTiles,
}

/// What the backward pass of attention needs of its forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Attended<'t> {
    /// Its output, activations (T, heads·d).
    pub o: Mat<'t>,
    /// log Σ e^score of each head and row, f32 (heads, T).
    pub log_sums: &'t Tensor,
}

impl Attention<'_> {
    /// Values of the queries of a row.
    fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    fn check(&self, gpu: &Gpu, o: Mat<'_>, log_sums: &Tensor) {
        let rows = self.tiles.rows;
        let width = (self.heads + 2 * self.kv_heads) * self.head_dim;
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "{} heads of queries and {} of keys",
            self.heads,
            self.kv_heads
        );
        assert!(gpu.attends(self.head_dim), "heads of {}", self.head_dim);
        assert!(self.window != Some(0), "a window of no keys");
        assert!(
            self.softcap.is_none_or(|cap| cap > 0.0),
            "a cap of {:?}",
            self.softcap
        );
        check_mat(
            "queries, keys and values",
            self.qkv,
            gpu.dtype(),
            rows,
            width,
        );
        check_mat("attention's output", o, gpu.dtype(), rows, self.queries());
        check_tensor("logs of sums", log_sums, Dtype::F32, rows * self.heads);
        if let Some(sinks) = self.sinks {
            check_tensor("sinks", sinks, Dtype::F32, self.heads);
        }
    }

    fn args(&self, args: Args) -> Args {
        args.int(self.tiles.rows)
            .int(self.heads)
            .int(self.kv_heads)
            .int(self.head_dim)
            .int(self.window.unwrap_or(0))
            .float(self.scale)
            .float(self.softcap.unwrap_or(0.0))
    }

    fn grid(&self, tiles: usize) -> Grid {
        Grid {
            blocks: [tiles as u32, self.heads as u32, 1],
            threads: THREADS,
        }
    }

    /// The kernel for heads of this width, of that for 64 and that for 128.
    fn kernel(&self, [narrow, wide]: [&'static str; 2]) -> &'static str {
        if self.head_dim <= 64 { narrow } else { wide }
    }
}

/// # Panics
/// If whole chunks of its rows can't be copied.
fn check_chunks(what: &str, mat: Mat<'_>) {
    assert!(
        mat.address().is_multiple_of(16) && mat.stride().is_multiple_of(CHUNK),
        "{what} at {:#x}, {} values apart",
        mat.address(),
        mat.stride()
    );
}

/// Whether attention to heads of this width is computed without scores in memory, with activations of this type.
#[must_use]
pub fn attends(activations: Dtype, head_dim: usize) -> bool {
    let widest = match activations {
        Dtype::Bf16 => 128,
        _ => 64,
    };
    head_dim.is_multiple_of(CHUNK) && (CHUNK..=widest).contains(&head_dim)
}

impl Gpu {
    /// Whether [`attend`](Self::attend) computes heads of this width.
    #[must_use]
    pub fn attends(&self, head_dim: usize) -> bool {
        attends(self.dtype(), head_dim)
    }

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

    /// o = softmax(cap(scale·q·kᵀ))·v over the keys that each query sees, and the logs of its sums, the sinks' among them.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes, types or places don't fit.
    pub fn attend(&self, attention: Attention<'_>, to: Attended<'_>) -> Result<(), Error> {
        attention.check(self, to.o, to.log_sums);
        check_chunks("queries, keys and values", attention.qkv);
        let tiles = attention.tiles;
        let args = Args::new().mat(attention.qkv).mat(to.o);
        let args = args.tensor(to.log_sums, 0);
        let args = args.tensor(&tiles.queries, 0).tensor(&tiles.listed, 0);
        let args = args.maybe(attention.sinks);
        let kernel = attention.kernel(["attend_64", "attend_128"]);
        let grid = attention.grid(tiles.query_tiles);
        self.launch(kernel, grid, &attention.args(args))
    }

    /// From the gradient of attention's output, those of queries, keys and values as they stand in `d_qkv`. Of the scratch,
    /// `means` is f32 (heads, T), and `d_kv` f32 (T, 2·heads·d).
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes, types or places don't fit.
    pub fn attend_backward(
        &self,
        attention: Attention<'_>,
        from: Attended<'_>,
        d_o: Mat<'_>,
        d_qkv: Mat<'_>,
        (means, d_kv): (&Tensor, Mat<'_>),
    ) -> Result<(), Error> {
        attention.check(self, from.o, from.log_sums);
        let (tiles, dtype, queries) = (attention.tiles, self.dtype(), attention.queries());
        check_mat("gradient of o", d_o, dtype, tiles.rows, queries);
        let width = attention.qkv.columns();
        check_mat("gradient of q, k, v", d_qkv, dtype, tiles.rows, width);
        check_mat("of k and v", d_kv, Dtype::F32, tiles.rows, 2 * queries);
        check_tensor("means", means, Dtype::F32, tiles.rows * attention.heads);
        for mat in [attention.qkv, from.o, d_o] {
            check_chunks("what attention's gradient is of", mat);
        }
        let args = Args::new().mat(attention.qkv).mat(from.o).mat(d_o);
        let args = args.tensor(from.log_sums, 0).tensor(means, 0).mat(d_qkv);
        let args = args.tensor(&tiles.queries, 0).tensor(&tiles.listed, 0);
        let kernel = attention.kernel(["attend_queries_64", "attend_queries_128"]);
        let grid = attention.grid(tiles.query_tiles);
        self.launch(kernel, grid, &attention.args(args))?;
        let args = Args::new().mat(attention.qkv).mat(d_o);
        let args = args.tensor(from.log_sums, 0).tensor(means, 0).mat(d_kv);
        let args = args.tensor(&tiles.keys, 0).tensor(&tiles.visits, 0);
        let kernel = attention.kernel(["attend_keys_64", "attend_keys_128"]);
        let grid = attention.grid(tiles.key_tiles);
        self.launch(kernel, grid, &attention.args(args))?;
        let group = attention.heads / attention.kv_heads;
        self.sum_heads(
            d_kv,
            attention.head_dim,
            group,
            d_qkv.of_columns(queries..width),
        )
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
