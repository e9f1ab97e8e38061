//! Control tokens of a model inside the text of messages: there they would end a turn or begin another one.
use crate::reasoning;
use crate::refusal::Refusal;
use crate::template::Message;
use regex::Regex;
use serde_json::Value;
use std::collections::HashSet;
use std::str::FromStr;
use tokenizers::Tokenizer;

/// What stands around a control token that is to be read as text: code points that no text has.
pub(crate) const OPEN: char = '\u{FDD2}';
pub(crate) const CLOSE: char = '\u{FDD3}';

/// Tokens around what a model thinks: part of an answer's text by the way in which these models are trained.
const PART_OF_TEXT: [&str; 4] = ["<think>", "</think>", "[THINK]", "[/THINK]"];

/// What is done with a message that holds a control token of its model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpecialInText {
    /// Its row is refused.
    #[default]
    Refuse,
    /// Its characters are tokenised as the text that they are.
    Escape,
    /// It becomes the control token, as transformers has it.
    Keep,
}

impl FromStr for SpecialInText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "escape" => Ok(Self::Escape),
            "keep" => Ok(Self::Keep),
            _ => Err("refuse, escape or keep".to_owned()),
        }
    }
}

/// The control tokens of a tokenizer.
#[derive(Debug)]
pub(crate) struct Specials {
    ids: HashSet<u32>,
    texts: Vec<String>,
    find: Option<Regex>,
}

impl Specials {
    /// The control tokens of a tokenizer; `in_texts` are those that stand in texts.
    pub(crate) fn of(tokenizer: &Tokenizer, in_texts: &[String]) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        let special = || added.iter().filter(|(_, token)| token.special);
        let mut texts: Vec<String> = special()
            .map(|(_, token)| token.content.clone())
            .filter(|text| !text.is_empty())
            .collect();
        // Of two that begin alike the longer one is found.
        texts.sort_by_key(|text| (std::cmp::Reverse(text.len()), text.clone()));
        let names: Vec<String> = texts
            .iter()
            .filter(|text| !PART_OF_TEXT.contains(&text.as_str()) && !in_texts.contains(text))
            .map(|text| regex::escape(text))
            .collect();
        let find = (!names.is_empty())
            .then(|| Regex::new(&names.join("|")).ok())
            .flatten();
        Self {
            ids: special().map(|(id, _)| *id).collect(),
            texts,
            find,
        }
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// The control token that a text ends in.
    pub(crate) fn ending<'t>(&'t self, text: &str) -> Option<&'t str> {
        let ends = |token: &&String| text.ends_with(token.as_str());
        self.texts.iter().find(ends).map(String::as_str)
    }

    /// The control token that a text begins with.
    pub(crate) fn beginning<'t>(&'t self, text: &str) -> Option<&'t str> {
        let begins = |token: &&String| text.starts_with(token.as_str());
        self.texts.iter().find(begins).map(String::as_str)
    }

    /// The first control token inside a text.
    pub(crate) fn first_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        Some(self.find.as_ref()?.find(text)?.as_str())
    }

    /// Looks for control tokens in everything that a template writes of a message, and marks or refuses them. Returns
    /// the first one.
    pub(crate) fn treat(
        &self,
        message: &mut Message,
        policy: SpecialInText,
    ) -> Result<Option<String>, Refusal> {
        let mut found = None;
        for key in ["content", "name", "tool_calls"]
            .iter()
            .chain(&reasoning::KEYS)
        {
            if let Some(value) = message.get_mut(*key) {
                self.treat_value(value, policy, &mut found)?;
            }
        }
        Ok(found)
    }

    /// The same for a value with all that is in it.
    pub(crate) fn treat_value(
        &self,
        value: &mut Value,
        policy: SpecialInText,
        found: &mut Option<String>,
    ) -> Result<(), Refusal> {
        match value {
            Value::String(text) => {
                let Some(token) = self.first_in(text).map(str::to_owned) else {
                    return Ok(());
                };
                match policy {
                    SpecialInText::Refuse => return Err(Refusal::ControlToken(token)),
                    SpecialInText::Escape => *text = self.escaped(text),
                    SpecialInText::Keep => {}
                }
                found.get_or_insert(token);
            }
            Value::Array(items) => {
                for item in items {
                    self.treat_value(item, policy, found)?;
                }
            }
            Value::Object(map) => {
                for item in map.values_mut() {
                    self.treat_value(item, policy, found)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn escaped(&self, text: &str) -> String {
        let mark = |token: &regex::Captures<'_>| format!("{OPEN}{}{CLOSE}", &token[0]);
        match &self.find {
            Some(find) => find.replace_all(text, mark).into_owned(),
            None => text.to_owned(),
        }
    }
}

/// A text without the marks around its escaped control tokens.
pub(crate) fn unescaped(text: &str) -> String {
    text.replace([OPEN, CLOSE], "")
}
