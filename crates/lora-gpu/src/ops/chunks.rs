//! The chunks of a batch's sequences, for rules that are computed chunk by chunk.
use super::{Args, Segment, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};
use std::ops::Range;

/// Rows of a chunk; of a sequence's last one fewer are there.
pub const CHUNK: usize = 64;

/// Chunks that a sequence of so many rows has.
#[must_use]
pub fn chunks_of(rows: usize) -> usize {
    rows.div_ceil(CHUNK)
}

/// A segment's chunk from one of its rows on: its first row, and its rows.
fn chunk(segment: Segment, from: usize, rows: usize) -> [u32; 2] {
    let Segment { first, queries, .. } = segment;
    assert!(first + queries <= rows, "{segment:?} of {rows}");
    [(first + from) as u32, CHUNK.min(queries - from) as u32]
}

/// How many texts there are at least.
fn numbers(texts: &[u32]) -> usize {
    let most = texts.iter().max();
    most.map_or(0, |&text| text as usize + 1)
}

/// The chunks of a batch, on the device: of each its first row and its rows, of each segment its chunks and its text.
#[derive(Debug, Clone)]
pub struct Chunks {
    pub(super) of_chunks: Tensor,
    pub(super) count: usize,
    pub(super) of_segments: Tensor,
    pub(super) segments: usize,
    /// Rows of the batch.
    pub(super) rows: usize,
    texts: usize,
}

impl Chunks {
    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows of all chunks, whether they are there or not.
    pub(super) fn padded(&self) -> usize {
        self.count * CHUNK
    }

    /// Whether every sequence is one row, so that each chunk is one.
    pub(super) fn are_tokens(&self) -> bool {
        self.count == self.rows && self.segments == self.count
    }

    /// # Panics
    /// If these are values of fewer texts than are named.
    pub(super) fn check_texts(&self, states: &Tensor, each: usize) {
        check_tensor("states", states, Dtype::F32, self.texts * each);
    }
}

/// The chunks of a batch in steps: first those with which its sequences begin, then the second ones, and so on. Longer
/// sequences stand before shorter ones, so that a step's chunks are those of the first ones.
#[derive(Debug, Clone)]
pub struct ChunkSteps {
    chunks: Chunks,
    steps: Vec<Range<usize>>,
    /// The text of each sequence, in their order here, u32.
    texts: Tensor,
}

impl ChunkSteps {
    /// How many chunks.
    #[must_use]
    pub fn count(&self) -> usize {
        self.chunks.count
    }

    /// Sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.chunks.segments
    }

    pub(super) fn padded(&self) -> usize {
        self.chunks.padded()
    }

    pub(super) fn rows(&self) -> usize {
        self.chunks.rows
    }

    pub(super) fn are_tokens(&self) -> bool {
        self.chunks.are_tokens()
    }

    pub(super) fn of_chunks(&self) -> &Tensor {
        &self.chunks.of_chunks
    }

    pub(super) fn steps(&self) -> &[Range<usize>] {
        &self.steps
    }

    pub(super) fn texts(&self) -> &Tensor {
        &self.texts
    }

    /// Texts that there are at least.
    ///
    /// # Panics
    /// If these are values of fewer.
    pub(super) fn check_texts(&self, states: &Tensor, each: usize) -> usize {
        self.chunks.check_texts(states, each);
        self.chunks.texts
    }
}

impl Gpu {
    /// The chunks of a batch of `rows` rows in steps, and the number of each segment's text.
    ///
    /// # Errors
    /// If so much memory is not free, or the driver fails.
    ///
    /// # Panics
    /// As for [`chunks`](Self::chunks).
    pub fn chunk_steps(
        &self,
        segments: &[Segment],
        texts: &[u32],
        rows: usize,
    ) -> Result<ChunkSteps, Error> {
        assert_eq!(segments.len(), texts.len(), "texts of segments");
        let mut order: Vec<usize> = (0..segments.len()).collect();
        let chunks = |segment: &usize| chunks_of(segments[*segment].queries);
        order.sort_by_key(|segment| std::cmp::Reverse(chunks(segment)));
        let most = order.first().map_or(0, chunks);
        let (mut of_chunks, mut steps) = (Vec::new(), Vec::new());
        for step in 0..most {
            let first = of_chunks.len();
            for &index in order.iter().take_while(|index| chunks(index) > step) {
                of_chunks.push(chunk(segments[index], step * CHUNK, rows));
            }
            steps.push(first..of_chunks.len());
        }
        let texts: Vec<u32> = order.iter().map(|&index| texts[index]).collect();
        let own = self.uploaded(Dtype::U32, &texts)?;
        Ok(ChunkSteps {
            chunks: Chunks {
                count: of_chunks.len(),
                of_chunks: self.uploaded(Dtype::U32, of_chunks.as_flattened())?,
                of_segments: own.clone(),
                segments: segments.len(),
                rows,
                texts: numbers(&texts),
            },
            steps,
            texts: own,
        })
    }

    /// The chunks of a batch of `rows` rows, and the number of each segment's text.
    ///
    /// # Errors
    /// If so much memory is not free, or the driver fails.
    ///
    /// # Panics
    /// If a segment lies outside of the rows, or segments have no text.
    pub fn chunks(
        &self,
        segments: &[Segment],
        texts: &[u32],
        rows: usize,
    ) -> Result<Chunks, Error> {
        assert_eq!(segments.len(), texts.len(), "texts of segments");
        let mut of_chunks: Vec<[u32; 2]> = Vec::new();
        let mut of_segments = Vec::with_capacity(segments.len());
        for (segment, &text) in segments.iter().zip(texts) {
            let first = of_chunks.len() as u32;
            let chunks = (0..segment.queries).step_by(CHUNK);
            of_chunks.extend(chunks.map(|from| chunk(*segment, from, rows)));
            of_segments.push([first, of_chunks.len() as u32 - first, text]);
        }
        Ok(Chunks {
            count: of_chunks.len(),
            of_chunks: self.uploaded(Dtype::U32, of_chunks.as_flattened())?,
            segments: of_segments.len(),
            of_segments: self.uploaded(Dtype::U32, of_segments.as_flattened())?,
            rows,
            texts: numbers(texts),
        })
    }

    /// Rows of a batch, (T, columns), to their chunks, (chunks·64, columns), all activations: zeros where none are.
    pub(super) fn chunk_rows(
        &self,
        chunks: &Chunks,
        from: Mat<'_>,
        to: &Tensor,
    ) -> Result<(), Error> {
        let columns = from.columns();
        check_mat("rows of a batch", from, self.dtype(), chunks.rows, columns);
        let rows = chunks.padded();
        check_tensor("rows of chunks", to, self.dtype(), rows * columns);
        let args = Args::new().mat(from).tensor(&chunks.of_chunks, 0);
        let args = args.tensor(to, 0).long(rows).long(columns);
        self.launch("chunk_rows", over_values(rows, columns), &args)
    }

    /// The way back, from f32.
    pub(super) fn unchunk_rows(
        &self,
        chunks: &Chunks,
        from: &Tensor,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let columns = to.columns();
        check_mat("rows of a batch", to, self.dtype(), chunks.rows, columns);
        let rows = chunks.padded();
        check_tensor("rows of chunks", from, Dtype::F32, rows * columns);
        let args = Args::new().tensor(from, 0).tensor(&chunks.of_chunks, 0);
        let args = args.mat(to).long(rows).long(columns);
        self.launch("unchunk_rows", over_values(rows, columns), &args)
    }
}
