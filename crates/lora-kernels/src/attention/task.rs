//! Where a task's queries, keys and values lie.
use super::shape::{LINE, Shape};
use crate::gemm::{Direct, View};
use crate::layout::{Layout, Segment, Span};
use crate::memory::grow;
use crate::shared::SharedMut;
use std::ops::Range;

/// Some queries of a segment, for all heads that share one key/value head, and the keys that any of them sees. Its rows are
/// query after query, in each head after head, so that neighbouring rows see nearly the same keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) shape: Shape,
    layout: &'a Layout,
    segment: &'a Segment,
    kv_head: usize,
    /// First query, counted in the segment.
    first: usize,
    /// Queries.
    pub(super) queries: usize,
    /// First key in view, counted in the sequence.
    start: usize,
    /// Keys in view.
    pub(super) keys: usize,
}

impl<'a> Task<'a> {
    /// Part `part` of a segment that is cut into stretches of `stretch` queries; none if it is not that long.
    pub(super) fn new(
        shape: Shape,
        layout: &'a Layout,
        segment: &'a Segment,
        kv_head: usize,
        part: usize,
        stretch: usize,
    ) -> Option<Self> {
        let first = part * stretch;
        let queries = stretch.min(segment.queries.checked_sub(first).filter(|&n| n > 0)?);
        let start = (segment.past + first + 1).saturating_sub(shape.window.unwrap_or(usize::MAX));
        let keys = segment.past + first + queries - start;
        Some(Self {
            shape,
            layout,
            segment,
            kv_head,
            first,
            queries,
            start,
            keys,
        })
    }

    /// Rows: queries times heads.
    pub(super) fn rows(self) -> usize {
        self.queries * self.shape.group()
    }

    /// Keys in view that are not those of its own queries.
    pub(super) fn earlier(self) -> usize {
        self.keys - self.queries.min(self.keys)
    }

    /// A row's query, counted in q, and its head.
    fn place(self, row: usize) -> (usize, usize) {
        let group = self.shape.group();
        (
            self.segment.query_start + self.first + row / group,
            self.kv_head * group + row % group,
        )
    }

    /// Where a row's values begin in q and o.
    pub(super) fn at(self, row: usize) -> usize {
        let (query, head) = self.place(row);
        (query * self.shape.heads + head) * self.shape.head_dim
    }

    /// A row's place in the log-sum-exp.
    pub(super) fn lse(self, row: usize) -> usize {
        let (query, head) = self.place(row);
        query * self.shape.heads + head
    }

    /// The keys in view that a row sees.
    pub(super) fn visible(self, row: usize) -> Range<usize> {
        let end = self.segment.past + self.first + row / self.shape.group() + 1;
        end.saturating_sub(self.shape.window.unwrap_or(usize::MAX))
            .max(self.start)
            - self.start..end - self.start
    }

    /// The rows that see any of these keys.
    pub(super) fn seeing(self, keys: Range<usize>) -> Range<usize> {
        let position = self.segment.past + self.first;
        let queries = |position_end: usize| {
            position_end.saturating_sub(position).min(self.queries) * self.shape.group()
        };
        let window = self.shape.window.unwrap_or(usize::MAX);
        queries(self.start + keys.start)
            ..queries((self.start + keys.end - 1).saturating_add(window))
    }

    /// The rows of some of the keys in view: (which key the first is, rows).
    fn spans(self, keys: Range<usize>) -> impl Iterator<Item = (usize, Span)> + 'a {
        self.layout
            .spans(self.segment, self.start + keys.start..self.start + keys.end)
    }

    /// Where the values of a row of k or v begin.
    fn key_at(self, row: usize) -> usize {
        (row * self.shape.kv_heads + self.kv_head) * self.shape.head_dim
    }

    /// The keys or values in view, one a row in `to`.
    pub(super) fn gather_keys<'t>(self, data: &[f32], to: &'t mut Vec<f32>) -> View<'t> {
        let d = self.shape.head_dim;
        let wide = self.shape.wide();
        grow(to, self.keys.next_multiple_of(Direct::new().rows()) * wide);
        for (key, span) in self.spans(0..self.keys) {
            for (row, to) in
                (span.start..span.start + span.len).zip(to[key * wide..].chunks_exact_mut(wide))
            {
                let at = self.key_at(row);
                copy(&data[at..at + d], to);
            }
        }
        View {
            values: to,
            stride: wide,
        }
    }

    /// Rows of q, o or their gradients, one a row in `to`.
    pub(super) fn gather(self, rows: Range<usize>, data: &[f32], to: &mut Vec<f32>) {
        let d = self.shape.head_dim;
        let wide = self.shape.wide();
        grow(to, rows.len().next_multiple_of(Direct::new().rows()) * wide);
        for (row, to) in rows.zip(to.chunks_exact_mut(wide)) {
            let at = self.at(row);
            copy(&data[at..at + d], to);
        }
    }

    /// Writes the gradient of its own keys or values, the last in view.
    ///
    /// # Safety
    /// The rows of its own keys, in its key/value head, belong to the caller alone.
    pub(super) unsafe fn write_own(self, from: View<'_>, job: usize, to: &SharedMut<'_>) {
        for (key, span) in self.spans(self.earlier()..self.keys) {
            for i in 0..span.len {
                let values = &from.from(self.earlier() + key + i, 0).values[..self.shape.head_dim];
                // SAFETY: handed on.
                unsafe { to.part(job, self.key_at(span.start + i), values.len()) }
                    .copy_from_slice(values);
            }
        }
    }

    /// Adds to the gradient of earlier keys or values.
    ///
    /// # Safety
    /// The rows of those keys, in its key/value head, belong to the caller alone.
    pub(super) unsafe fn add_earlier(self, from: View<'_>, job: usize, to: &SharedMut<'_>) {
        for (key, span) in self.spans(0..self.earlier()) {
            for i in 0..span.len {
                let values = &from.from(key + i, 0).values[..self.shape.head_dim];
                // SAFETY: handed on.
                let to = unsafe { to.part(job, self.key_at(span.start + i), values.len()) };
                to.iter_mut()
                    .zip(values)
                    .for_each(|(to, value)| *to += value);
            }
        }
    }
}

/// Copies a row by lines: short rows are not worth a call.
fn copy(from: &[f32], to: &mut [f32]) {
    let (lines, rest) = from.as_chunks::<LINE>();
    for (to, from) in to.as_chunks_mut::<LINE>().0.iter_mut().zip(lines) {
        *to = *from;
    }
    to[lines.len() * LINE..from.len()].copy_from_slice(rest);
}
