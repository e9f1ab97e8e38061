//! `--regex`: the part of an answer that counts.
use fancy_regex::Regex;
use lora_cli::{Error, Result};

/// Takes the first match of a pattern out of a text: its first group, or all of it where it has none.
#[derive(Debug)]
pub(crate) struct Extraction(Regex);

impl Extraction {
    /// Python's `re` syntax, look-arounds included.
    pub(crate) fn new(pattern: &str) -> Result<Self> {
        let fail = |error: fancy_regex::Error| {
            Error::new(format!("--regex is no regular expression: {error}")).hint(
                "it is Python's syntax; quote it for the shell, e.g. --regex '#### (-?[0-9.,]+)'",
            )
        };
        Ok(Self(Regex::new(pattern).map_err(fail)?))
    }

    /// What is taken of a text, without outer white space; none where nothing matches.
    ///
    /// # Errors
    /// When the pattern takes too many steps on this text.
    pub(crate) fn of(&self, text: &str) -> Result<Option<String>> {
        let fail = |error: fancy_regex::Error| {
            Error::new(format!("--regex fails on an answer: {error}"))
                .hint("simplify the pattern: it goes back too often")
        };
        let Some(found) = self.0.captures(text).map_err(fail)? else {
            return Ok(None);
        };
        let taken = found.get(1).or_else(|| found.get(0));
        Ok(taken.map(|part| part.as_str().trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_of_the_first_match_counts() {
        let extraction = Extraction::new(r"#### (-?[0-9.,]+)").unwrap();
        assert_eq!(
            extraction.of("so\n#### 12\n#### 13").unwrap().as_deref(),
            Some("12")
        );
        assert_eq!(extraction.of("12").unwrap(), None);
        let whole = Extraction::new(r"(?<=is )\w+").unwrap();
        assert_eq!(whole.of("it is red").unwrap().as_deref(), Some("red"));
        assert!(Extraction::new("(").is_err());
    }
}
