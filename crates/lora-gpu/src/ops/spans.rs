//! Which rows of a batch belong to one sequence, for what walks along sequences.
use super::Segment;
use crate::{Dtype, Error, Gpu, Tensor};

/// The sequences of a batch, on the device: of each row, and of each segment, its first row, the one behind its last, and the
/// number of its text, by which tails and states are found again in generation.
#[derive(Debug, Clone)]
pub struct Spans {
    pub(super) of_rows: Tensor,
    pub(super) rows: usize,
    pub(super) of_segments: Tensor,
    pub(super) segments: usize,
    /// Texts that there are at least.
    texts: usize,
}

impl Spans {
    /// Segments.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// # Panics
    /// If these are values of fewer texts than are named.
    pub(super) fn check_texts(&self, what: &str, values: &Tensor, each: usize) {
        super::check_tensor(what, values, Dtype::F32, self.texts * each);
    }
}

impl Gpu {
    /// The sequences of a batch of `rows` rows, which its segments take one after the other; the number of each one's text.
    ///
    /// # Errors
    /// If so much memory is not free, or the driver fails.
    ///
    /// # Panics
    /// If some row is in no segment or in two, or segments have no text.
    pub fn spans(&self, segments: &[Segment], texts: &[u32], rows: usize) -> Result<Spans, Error> {
        assert_eq!(segments.len(), texts.len(), "texts of segments");
        let mut of_segments = Vec::with_capacity(segments.len());
        let mut of_rows = Vec::with_capacity(rows);
        for (segment, &text) in segments.iter().zip(texts) {
            assert_eq!(segment.first, of_rows.len(), "{segment:?} begins elsewhere");
            let end = segment.first + segment.queries;
            let span = [segment.first as u32, end as u32, text];
            of_segments.push(span);
            of_rows.resize(end, span);
        }
        assert_eq!(of_rows.len(), rows, "rows of segments");
        Ok(Spans {
            of_rows: self.uploaded(Dtype::U32, of_rows.as_flattened())?,
            rows,
            segments: of_segments.len(),
            of_segments: self.uploaded(Dtype::U32, of_segments.as_flattened())?,
            texts: texts
                .iter()
                .map(|&text| text as usize + 1)
                .max()
                .unwrap_or(0),
        })
    }
}
