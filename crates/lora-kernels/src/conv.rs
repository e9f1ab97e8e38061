//! A causal convolution of each column by itself: y(t) = f(b + Σⱼ w(j)∘x(t − taps + 1 + j)), where what lies before a sequence
//! is 0, or the rows that were read before it; f is SiLU or nothing.
use crate::dispatch::vectorised;
use crate::layout::{Layout, Segment};
use crate::vector::sigmoid;
use rayon::prelude::*;

/// Rows of a task.
const ROWS: usize = 32;

/// What the sum goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// It is the output.
    Nothing,
    /// x·σ(x).
    Silu,
}

/// The weight, (taps, columns): the last tap is that of the token itself.
#[derive(Debug, Clone, Copy)]
pub struct Taps<'a> {
    /// Values.
    pub values: &'a [f32],
    /// b, (columns), if there is one.
    pub bias: Option<&'a [f32]>,
    /// Columns.
    pub columns: usize,
    /// What follows.
    pub behind: Behind,
}

impl<'a> Taps<'a> {
    /// How many.
    #[must_use]
    pub fn count(self) -> usize {
        self.values.len() / self.columns
    }

    fn tap(self, index: usize) -> &'a [f32] {
        &self.values[index * self.columns..(index + 1) * self.columns]
    }
}

/// y of x, both (T, columns). `tails` (segments, taps − 1, columns) are the rows before each segment, and become its last;
/// without them each segment is a whole sequence.
///
/// # Panics
/// If rows lie outside the slices, or a segment continues a sequence and there are no tails.
pub fn forward(
    taps: Taps<'_>,
    layout: &Layout,
    x: &[f32],
    y: &mut [f32],
    tails: Option<&mut [f32]>,
) {
    let (columns, before) = (taps.columns, taps.count() - 1);
    let segments = layout.segments();
    assert!(
        tails.is_some() || segments.iter().all(|segment| segment.past == 0),
        "a sequence goes on without what was read before it"
    );
    let own = |segment: &Segment| rows(segment, columns);
    let read: &[f32] = tails.as_deref().unwrap_or_default();
    let mut rest = y;
    let mut end = 0;
    let mut tasks = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let place = own(segment);
        let (_, behind) = rest.split_at_mut(place.start - end);
        let (y, behind) = behind.split_at_mut(place.len());
        (rest, end) = (behind, place.end);
        let tail = read.get(index * before * columns..(index + 1) * before * columns);
        let parts = y.chunks_mut(ROWS * columns).enumerate();
        tasks.extend(parts.map(|(part, y)| (place.clone(), tail, part * ROWS, y)));
    }
    tasks.into_par_iter().for_each(|(place, tail, first, y)| {
        let source = Source {
            x: &x[place],
            tail,
            columns,
        };
        for (row, y) in y.chunks_exact_mut(columns).enumerate() {
            source.sum(taps, first + row, y);
            if taps.behind == Behind::Silu {
                silu(y);
            }
        }
    });
    if let Some(tails) = tails {
        keep(taps, segments, x, tails);
    }
}

/// Values of a segment's rows.
fn rows(segment: &Segment, columns: usize) -> std::ops::Range<usize> {
    segment.query_start * columns..(segment.query_start + segment.queries) * columns
}

/// The last rows of each segment, behind what it had.
fn keep(taps: Taps<'_>, segments: &[Segment], x: &[f32], tails: &mut [f32]) {
    let size = (taps.count() - 1) * taps.columns;
    if size == 0 {
        return;
    }
    for (tail, segment) in tails.chunks_exact_mut(size).zip(segments) {
        let new = &x[rows(segment, taps.columns)];
        let fresh = new.len().min(size);
        tail.copy_within(fresh.., 0);
        tail[size - fresh..].copy_from_slice(&new[new.len() - fresh..]);
    }
}

/// The rows of a segment, and those before it.
struct Source<'s> {
    x: &'s [f32],
    tail: Option<&'s [f32]>,
    columns: usize,
}

impl Source<'_> {
    /// b + Σⱼ w(j)∘x(row − taps + 1 + j) goes to y.
    fn sum(&self, taps: Taps<'_>, row: usize, y: &mut [f32]) {
        match taps.bias {
            Some(bias) => y.copy_from_slice(bias),
            None => y.fill(0.0),
        }
        let before = taps.count() - 1;
        for tap in 0..taps.count() {
            let at = row + tap; // counted from the first row of the tail
            let values = match at.checked_sub(before) {
                Some(own) => &self.x[own * self.columns..(own + 1) * self.columns],
                None => match self.tail {
                    Some(tail) => &tail[at * self.columns..(at + 1) * self.columns],
                    None => continue,
                },
            };
            add_product(y, taps.tap(tap), values);
        }
    }
}

/// dx (T, columns) from dy, which becomes the gradient of the sum.
///
/// # Panics
/// If rows lie outside the slices, or a segment continues a sequence.
pub fn backward(taps: Taps<'_>, layout: &Layout, x: &[f32], dy: &mut [f32], dx: &mut [f32]) {
    let columns = taps.columns;
    for segment in layout.segments() {
        assert_eq!(
            segment.past, 0,
            "a sequence goes on without what was read before it"
        );
        let place = rows(segment, columns);
        let source = Source {
            x: &x[place.clone()],
            tail: None,
            columns,
        };
        let parts = dy[place.clone()].par_chunks_mut(ROWS * columns).enumerate();
        let through = |(part, dy): (usize, &mut [f32])| {
            let mut sum = vec![0.0; columns];
            for (row, dy) in dy.chunks_exact_mut(columns).enumerate() {
                source.sum(taps, part * ROWS + row, &mut sum);
                through_silu(&sum, dy);
            }
        };
        if taps.behind == Behind::Silu {
            parts.for_each(through);
        }
        let dy = &dy[place.clone()];
        let parts = dx[place].par_chunks_mut(ROWS * columns).enumerate();
        parts.for_each(|(part, dx)| {
            for (row, dx) in dx.chunks_exact_mut(columns).enumerate() {
                dx.fill(0.0);
                let first = part * ROWS + row;
                for (later, dy) in dy[first * columns..].chunks_exact(columns).enumerate() {
                    let Some(tap) = (taps.count() - 1).checked_sub(later) else {
                        break;
                    };
                    add_product(dx, taps.tap(tap), dy);
                }
            }
        });
    }
}

vectorised! {
    fn add_product(y: &mut [f32], w: &[f32], x: &[f32]) {
        for ((y, &w), &x) in y.iter_mut().zip(w).zip(x) {
            *y += w * x;
        }
    }
}

vectorised! {
    fn silu(y: &mut [f32]) {
        for y in y.iter_mut() {
            *y *= sigmoid(*y);
        }
    }
}

vectorised! {
    fn through_silu(sum: &[f32], dy: &mut [f32]) {
        for (dy, &x) in dy.iter_mut().zip(sum) {
            let s = sigmoid(x);
            *dy *= s + x * s * (1.0 - s);
        }
    }
}
