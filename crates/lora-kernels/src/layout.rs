//! Which rows attend to which. Sequences lie end to end in rows of q, k and v; sequences that begin with the same tokens
//! may share the rows of that beginning, so that what a row sees is a list of spans of rows, not one span.
use std::ops::Range;

/// Neighbouring rows of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First row.
    pub start: usize,
    /// Rows.
    pub len: usize,
}

/// Neighbouring queries of one sequence, or of several while they are the same. The keys of its spans, in order, are those
/// of positions 0, 1, 2, …; its queries stand at the last positions: query i sees keys 0..=`past` + i.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// First row of the queries in q and o.
    pub query_start: usize,
    /// Queries.
    pub queries: usize,
    /// Keys before that of the first query.
    pub past: usize,
    /// Its spans in the layout.
    spans: Range<usize>,
}

/// The segments of a batch. Segments of one tree see rows of each other; trees are independent.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    segments: Vec<Segment>,
    spans: Vec<Span>,
    /// First segment of each tree.
    trees: Vec<usize>,
}

impl Layout {
    /// Packed sequences given by their cumulative lengths, sharing nothing.
    #[must_use]
    pub fn packed(starts: &[usize]) -> Self {
        let mut layout = Self::default();
        for w in starts.windows(2) {
            layout.start_tree();
            layout.push(
                w[0],
                w[1] - w[0],
                [Span {
                    start: w[0],
                    len: w[1] - w[0],
                }],
            );
        }
        layout
    }

    /// The segments that follow see no rows of those before.
    pub fn start_tree(&mut self) {
        self.trees.push(self.segments.len());
    }

    /// Adds a segment: `spans` are all rows that its last query sees, in order of position.
    ///
    /// # Panics
    /// If its queries are not all in its last span.
    pub fn push(
        &mut self,
        query_start: usize,
        queries: usize,
        spans: impl IntoIterator<Item = Span>,
    ) {
        let first = self.spans.len();
        self.spans
            .extend(spans.into_iter().filter(|span| span.len > 0));
        let keys: usize = self.spans[first..].iter().map(|span| span.len).sum();
        let last = self.spans[first..].last().map_or(0, |span| span.len);
        assert!(
            queries <= last,
            "a segment has {queries} queries and {last} keys in its last span"
        );
        if self.trees.is_empty() {
            self.trees.push(0);
        }
        self.segments.push(Segment {
            query_start,
            queries,
            past: keys - queries,
            spans: first..self.spans.len(),
        });
    }

    /// All segments, tree after tree.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Trees.
    #[must_use]
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Which segments one tree has: each sees rows of its own and of some before it.
    #[must_use]
    pub fn tree(&self, index: usize) -> Range<usize> {
        self.trees[index]
            ..self
                .trees
                .get(index + 1)
                .copied()
                .unwrap_or(self.segments.len())
    }

    /// The row in k and v of a segment's first query.
    #[must_use]
    pub fn own_keys(&self, segment: &Segment) -> usize {
        self.spans[segment.spans.clone()]
            .last()
            .map_or(0, |span| span.start + span.len)
            - segment.queries
    }

    /// The rows of some of a segment's keys, span by span: (which of `keys` the first is, rows).
    pub fn spans(
        &self,
        segment: &Segment,
        keys: Range<usize>,
    ) -> impl Iterator<Item = (usize, Span)> + '_ {
        let mut end = 0;
        self.spans[segment.spans.clone()]
            .iter()
            .filter_map(move |span| {
                let start = end;
                end += span.len;
                let (from, to) = (start.max(keys.start), end.min(keys.end));
                (from < to).then(|| {
                    (
                        from - keys.start,
                        Span {
                            start: span.start + from - start,
                            len: to - from,
                        },
                    )
                })
            })
    }
}
