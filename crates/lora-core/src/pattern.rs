//! [`Pattern`]: PEFT's `rank_pattern` and `alpha_pattern`, module names with a value of their own.
use crate::Error;
use crate::targets::compile;
use fancy_regex::Regex;

/// Module names (regular expressions), each with a value. The first that matches a module wins, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern<T>(pub Vec<(String, T)>);

impl<T> Default for Pattern<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Pattern<T> {
    /// True if no module has a value of its own.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// PEFT's `get_pattern_key`: the value of the first name that matches the path or its end after a dot.
    pub(crate) fn get(&self, option: &str, path: &str) -> Result<Option<T>, Error> {
        for (key, value) in &self.0 {
            let found = compile_key(option, key)?.is_match(path);
            if found
                .map_err(|e| Error::config(format!("{option} `{key}` can't be matched: {e}")))?
            {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }

    /// The same names with other values.
    pub(crate) fn map(&self, value: impl Fn(T) -> T) -> Self {
        Self(
            self.0
                .iter()
                .map(|(key, old)| (key.clone(), value(*old)))
                .collect(),
        )
    }
}

/// The expression that a name stands for.
pub(crate) fn compile_key(option: &str, key: &str) -> Result<Regex, Error> {
    compile(option, &format!(r"^(?:(.*\.)?({key})$)"))
}
