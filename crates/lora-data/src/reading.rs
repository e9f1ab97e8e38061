//! How rows are read that have other keys than the layouts know.
use crate::error::Mistake;
use crate::refusal::Fault;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::str::FromStr;

/// How a row's keys are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Keys of a layout, and the keys that the rows have in their place.
    pub columns: Vec<(String, String)>,
    /// A text from which the prompt is made.
    pub prompt: Option<PromptTemplate>,
    /// Keys of rows and of their messages that are left out as if they were not there.
    pub ignored: Vec<String>,
}

/// Text with `{key}` where a row's value stands; `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Key(String),
}

impl FromStr for PromptTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let Some(end) = rest.find('}').filter(|_| brace == "{") else {
                return Err(format!(
                    "a lone {brace}: write {brace}{brace} for the brace itself"
                ));
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Key(rest[..end].to_owned()));
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        match pieces.iter().any(|piece| matches!(piece, Piece::Key(_))) {
            true => Ok(Self(pieces)),
            false => Err("it names no key, such as {question}".to_owned()),
        }
    }
}

impl PromptTemplate {
    fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Key(key) => Some(key),
            Piece::Text(_) => None,
        })
    }

    fn fill(&self, row: &Map<String, Value>) -> Result<String, Fault> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => Ok(text.clone()),
            Piece::Key(key) => Ok(match found(row, key, "--prompt-template")? {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            }),
        };
        self.0.iter().map(piece).collect()
    }
}

/// A key that a flag names must be there: a misspelt one would leave every prompt without it.
fn found<'r>(row: &'r Map<String, Value>, key: &str, flag: &str) -> Result<&'r Value, Fault> {
    row.get(key).ok_or_else(|| {
        let keys: Vec<String> = row.keys().take(20).map(|key| format!("'{key}'")).collect();
        let what = format!(
            "the row has no key '{key}' of {flag}; it has {}",
            keys.join(", ")
        );
        Fault::Shape(Mistake::new(what).hint(format!("name keys of the rows in {flag}")))
    })
}

impl Reading {
    /// Keys of a layout that flags name.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> + Clone {
        let of_columns = self.columns.iter().map(|(name, _)| name.as_str());
        of_columns.chain(self.prompt.as_ref().map(|_| "prompt"))
    }

    /// Which of the ignored keys a row or one of its messages has.
    pub fn ignored_of(&self, row: &Value) -> Vec<&str> {
        let (Some(row), false) = (row.as_object(), self.ignored.is_empty()) else {
            return Vec::new();
        };
        let lists = row.values().filter_map(Value::as_array);
        let messages = lists.flatten().filter_map(Value::as_object);
        let maps: Vec<_> = std::iter::once(row).chain(messages).collect();
        let ignored = self.ignored.iter().map(String::as_str);
        ignored
            .filter(|key| maps.iter().any(|map| map.contains_key(*key)))
            .collect()
    }

    /// The row under the names of a layout. With nothing to rename or leave out it is the row itself.
    pub(crate) fn apply<'r>(
        &self,
        row: &'r Map<String, Value>,
    ) -> Result<Cow<'r, Map<String, Value>>, Fault> {
        if self == &Self::default() {
            return Ok(Cow::Borrowed(row));
        }
        let mut named = Map::new();
        for (name, key) in &self.columns {
            named.insert(name.clone(), found(row, key, "--columns")?.clone());
        }
        if let Some(template) = &self.prompt {
            named.insert("prompt".to_owned(), template.fill(row)?.into());
        }
        let mut row = row.clone();
        let of_prompt = self.prompt.iter().flat_map(PromptTemplate::keys);
        let of_columns = self.columns.iter().map(|(_, key)| key);
        for key in of_prompt.chain(of_columns).chain(&self.ignored) {
            row.shift_remove(key);
        }
        row.extend(named);
        if !self.ignored.is_empty() {
            let lists = row.values_mut().filter_map(Value::as_array_mut);
            for message in lists.flatten().filter_map(Value::as_object_mut) {
                message.retain(|key, _| !self.ignored.contains(key));
            }
        }
        Ok(Cow::Owned(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prompts_are_made_of_keys() {
        let row = json!({"a": "x", "n": 3, "none": null});
        let row = row.as_object().unwrap();
        for (template, made) in [
            ("{a}", Some("x")),
            ("<{a}|{n}|{none}>", Some("<x|3|>")),
            ("{{{a}}} }}", Some("{x} }")),
            ("{b}", None),
        ] {
            let template: PromptTemplate = template.parse().unwrap();
            assert_eq!(template.fill(row).ok().as_deref(), made);
        }
        for wrong in ["plain", "{a", "a}", "{a}}"] {
            assert!(wrong.parse::<PromptTemplate>().is_err(), "{wrong}");
        }
    }
}
