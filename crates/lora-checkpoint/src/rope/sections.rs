//! Positions in several dimensions (height and width of an image beside time): which frequency turns with which. In a text all
//! dimensions are the same position, so that nothing of it matters, as long as each frequency has one.
use super::Rope;

impl Rope {
    /// Frequencies of time, height, width, and of a fourth dimension that no text has, where they take turns: transformers'
    /// default of [11, 11, 10] for 64 rotated features, and as many in each for others.
    pub(crate) fn sections(dim: usize) -> [usize; 4] {
        let pairs = dim / 2;
        [pairs.div_ceil(3), (pairs + 1) / 3, pairs / 3, 0]
    }
}

/// Whether each frequency turns with a dimension that texts have, as llama.cpp interleaves the sections.
pub(crate) fn covers(sections: &[i32], dim: usize) -> bool {
    let sections: Vec<usize> = sections
        .iter()
        .map(|&n| usize::try_from(n).unwrap_or(0))
        .collect();
    let all = sections
        .iter()
        .fold(0usize, |sum, &n| sum.saturating_add(n));
    (0..dim / 2).all(|pair| {
        let Some(place) = pair.checked_rem(all) else {
            return false;
        };
        let own = sections.get(place % 3);
        own.is_some_and(|&n| place < n.saturating_mul(3))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_cover_all_frequencies() {
        assert_eq!(Rope::sections(64), [11, 11, 10, 0]);
        for dim in (2..200).step_by(2) {
            let own = Rope::sections(dim).map(|n| n as i32);
            assert!(covers(&own, dim), "{dim}");
        }
        assert!(covers(&[11, 11, 10, 0], 8));
        for bad in [&[0, 0, 0, 0][..], &[], &[1, 0, 0, 3], &[-1, 5, 5, 0]] {
            assert!(!covers(bad, 64), "{bad:?}");
        }
    }
}
