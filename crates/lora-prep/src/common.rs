//! What all rows of a dataset have in common, which goes on with it.

/// A value that all rows have, or not.
pub(crate) struct Common<T> {
    first: Option<T>,
    pub(crate) differ: bool,
}

impl<T> Default for Common<T> {
    fn default() -> Self {
        Self {
            first: None,
            differ: false,
        }
    }
}

impl<T: Clone + PartialEq> Common<T> {
    /// A row's value; None of one for which it means nothing.
    pub(crate) fn see(&mut self, value: Option<T>) {
        if let Some(value) = value {
            self.differ |= *self.first.get_or_insert_with(|| value.clone()) != value;
        }
    }

    /// The value of all rows that have one.
    pub(crate) fn of_all(self) -> Option<T> {
        self.first.filter(|_| !self.differ)
    }
}

/// What serves chats that bring no system text as the rows are: the text of all rows, else the one that was put before
/// those that brought none.
pub(crate) fn system(rows: Common<Option<String>>, given: Option<&str>) -> Option<String> {
    rows.first.as_ref()?; // without a row that has roles none was written with it
    rows.of_all().unwrap_or_else(|| given.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(rows: &[Option<Option<&str>>], given: Option<&str>) -> Option<String> {
        let mut systems = Common::default();
        for row in rows {
            systems.see(row.map(|text| text.map(str::to_owned)));
        }
        system(systems, given)
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
        assert_eq!(common(&[text], Some("a")), None, "it is in no row");
        assert_eq!(common(&[none, text], None), None);
    }
}
