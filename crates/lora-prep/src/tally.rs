//! How many rows something happened to, and where first.
use std::collections::BTreeMap;
use std::fmt::Display;

/// Counts by reason, each with its first place.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, (usize, String)>);

impl Tally {
    /// One more row.
    pub(crate) fn add(&mut self, reason: impl Into<String>, place: impl Display) {
        let one = self.0.entry(reason.into());
        one.or_insert_with(|| (0, place.to_string())).0 += 1;
    }

    /// The rows of another tally too.
    pub(crate) fn join(&mut self, other: Self) {
        for (reason, (rows, place)) in other.0 {
            self.0.entry(reason).or_insert_with(|| (0, place)).0 += rows;
        }
    }

    /// Rows of all reasons.
    pub(crate) fn rows(&self) -> usize {
        self.iter().map(|(_, rows, _)| rows).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reason, rows and the first place, by reason.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, usize, &str)> {
        let parts = self.0.iter();
        parts.map(|(reason, (rows, place))| (reason.as_str(), *rows, place.as_str()))
    }

    /// The counts alone.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        self.iter()
            .map(|(reason, rows, _)| (reason.to_owned(), rows))
            .collect()
    }

    /// The reason of most rows.
    pub(crate) fn most(&self) -> Option<&str> {
        let most = self.iter().max_by_key(|(_, rows, _)| *rows);
        most.map(|(reason, _, _)| reason)
    }
}
