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
///
/// Tasks of attention write the rows of different segments at once, so each row of queries belongs to one segment, which
/// [`Layout::push`] makes sure of. The backward pass writes rows of keys too: see [`Layout::keys_are_own_rows`].
#[derive(Debug, Clone, Default)]
pub struct Layout {
    segments: Vec<Segment>,
    spans: Vec<Span>,
    /// First segment of each tree.
    trees: Vec<usize>,
    /// Whether some segment sees keys that are not rows of its tree.
    sees_foreign_keys: bool,
}

impl Layout {
    /// Packed sequences given by their cumulative lengths, sharing nothing.
    ///
    /// # Panics
    /// If the lengths' sums do not ascend.
    #[must_use]
    pub fn packed(starts: &[usize]) -> Self {
        let mut layout = Self::default();
        for bounds in starts.windows(2) {
            let Some(len) = bounds[1].checked_sub(bounds[0]) else {
                panic!(
                    "a sequence begins at row {} and ends at row {}",
                    bounds[0], bounds[1]
                )
            };
            let all = Span {
                start: bounds[0],
                len,
            };
            layout.start_tree();
            layout.push(all.start, all.len, [all]);
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
    /// If its queries begin before the end of those that were added before, or are not all in its last span.
    pub fn push(
        &mut self,
        query_start: usize,
        queries: usize,
        spans: impl IntoIterator<Item = Span>,
    ) {
        let end = self
            .segments
            .last()
            .map_or(0, |s| s.query_start + s.queries);
        assert!(
            query_start >= end && query_start.checked_add(queries).is_some(),
            "a segment's queries begin at row {query_start}, those before it end at row {end}"
        );
        let first = self.spans.len();
        let seen = spans.into_iter().filter(|span| span.len > 0);
        self.spans.extend(seen);
        let spans = &self.spans[first..];
        let keys = spans.iter().try_fold(0usize, |keys, span| {
            span.start.checked_add(span.len)?;
            keys.checked_add(span.len)
        });
        let Some(keys) = keys else {
            panic!("a segment sees more keys than memory can hold")
        };
        let last = spans.last().map_or(0, |span| span.len);
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
        self.sees_foreign_keys |= !self.sees_own_tree(query_start, queries);
    }

    /// Whether the keys of the segment that was added last are rows of queries: its own last, all others earlier ones of
    /// its tree.
    fn sees_own_tree(&self, query_start: usize, queries: usize) -> bool {
        let Some(segment) = self.segments.last() else {
            return true;
        };
        let Some((last, earlier)) = self.spans[segment.spans.clone()].split_last() else {
            return true;
        };
        let root = self.trees.last().map_or(0, |&tree| tree);
        let rows = self.segments[root].query_start..query_start;
        let is_of_tree =
            |span: &Span| rows.start <= span.start && span.start + span.len <= rows.end;
        let own = Span {
            start: last.start,
            len: last.len - queries,
        };
        own.start + own.len == query_start
            && (own.len == 0 || is_of_tree(&own))
            && earlier.iter().all(is_of_tree)
    }

    /// Whether keys are the rows of queries: each segment sees its own queries' rows and earlier ones of its tree, as in
    /// training, and not those of a cache. The backward pass needs it: its tasks add to the gradients of all rows that a
    /// tree sees, and trees run at once.
    #[must_use]
    pub fn keys_are_own_rows(&self) -> bool {
        !self.sees_foreign_keys
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
        let next = self.trees.get(index + 1);
        self.trees[index]..next.copied().unwrap_or(self.segments.len())
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
