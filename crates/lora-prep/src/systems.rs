//! The system text that goes on with a dataset.

/// The system texts of the rows that are kept.
#[derive(Default)]
pub(crate) struct Systems {
    first: Option<Option<String>>,
    differ: bool,
}

impl Systems {
    /// A row's system text; None for a text without roles.
    pub(crate) fn see(&mut self, system: Option<Option<String>>) {
        if let Some(system) = system {
            self.differ |= *self.first.get_or_insert_with(|| system.clone()) != system;
        }
    }

    /// What serves chats that bring no system text as the rows are: the text of all rows, else the one that was put before
    /// those that brought none.
    pub(crate) fn common(self, given: Option<&str>) -> Option<String> {
        match self.first {
            Some(all) if !self.differ => all,
            _ => given.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(rows: &[Option<Option<&str>>], given: Option<&str>) -> Option<String> {
        let mut systems = Systems::default();
        for row in rows {
            systems.see(row.map(|text| text.map(str::to_owned)));
        }
        systems.common(given)
    }

    #[test]
    fn the_text_of_all_rows_goes_on_else_the_given_one() {
        let (a, b, none, text) = (Some(Some("a")), Some(Some("b")), Some(None), None);
        assert_eq!(common(&[a, a, text], None).as_deref(), Some("a"));
        assert_eq!(common(&[a, b], None), None);
        assert_eq!(common(&[none, a], None), None);
        assert_eq!(
            common(&[b, b], Some("a")).as_deref(),
            Some("b"),
            "rows that brought their own"
        );
        assert_eq!(common(&[a, b], Some("a")).as_deref(), Some("a"));
        assert_eq!(common(&[text], Some("a")).as_deref(), Some("a"));
        assert_eq!(common(&[none, text], None), None);
    }
}
