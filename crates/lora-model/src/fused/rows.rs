//! Some rows of all: those whose output is asked for.

/// Rows of the decoder's output that are asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Ascending, each once; None if all are computed.
    pub(crate) rows: Option<Vec<usize>>,
    /// Where each of the asked is among the computed.
    pub(crate) places: Vec<usize>,
}

impl Wanted {
    /// The asked of `t` rows, in any order and any number of times.
    pub(crate) fn of(asked: Vec<usize>, t: usize) -> Self {
        let mut rows = asked.clone();
        rows.sort_unstable();
        rows.dedup();
        if rows.is_empty() || rows.len() == t {
            return Self::among_all(asked);
        }
        let places = asked
            .iter()
            .map(|asked| rows.partition_point(|row| row < asked))
            .collect();
        Self {
            rows: Some(rows),
            places,
        }
    }

    /// The asked, where all rows are computed.
    pub(crate) fn among_all(asked: Vec<usize>) -> Self {
        Self {
            rows: None,
            places: asked,
        }
    }
}

/// The given rows of `all` (T rows) become its first.
pub(crate) fn keep(rows: &[usize], all: &mut [f32], t: usize) {
    let width = all.len() / t.max(1);
    for (to, &from) in rows.iter().enumerate() {
        all.copy_within(from * width..(from + 1) * width, to * width);
    }
}

/// The way back: the first of `all` become the given rows, and the others zero.
pub(crate) fn spread(rows: &[usize], all: &mut [f32], t: usize) {
    let width = all.len() / t.max(1);
    let mut end = t;
    for (from, &to) in rows.iter().enumerate().rev() {
        all[(to + 1) * width..end * width].fill(0.0);
        all.copy_within(from * width..(from + 1) * width, to * width);
        end = to;
    }
    all[..end * width].fill(0.0);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_and_spread_again() {
        let wanted = Wanted::of(vec![4, 1, 4, 2], 6);
        let rows = wanted.rows.unwrap();
        assert_eq!(
            (&rows[..], &wanted.places[..]),
            (&[1, 2, 4][..], &[2, 0, 2, 1][..])
        );
        assert!(Wanted::of(vec![1, 0, 0], 2).rows.is_none());
        let mut all: Vec<f32> = (0..12).map(|i| i as f32).collect();
        keep(&rows, &mut all, 6);
        assert_eq!(all[..6], [2.0, 3.0, 4.0, 5.0, 8.0, 9.0]);
        spread(&rows, &mut all, 6);
        assert_eq!(
            all,
            [0.0, 0.0, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0, 8.0, 9.0, 0.0, 0.0]
        );
        spread(&[], &mut all, 6);
        assert!(all.iter().all(|&v| v == 0.0));
    }
}
