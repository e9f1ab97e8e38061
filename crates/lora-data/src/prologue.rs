//! What stands before a chat template so that whoever renders it writes chats as the rows are written: statements of Jinja
//! that transformers, llama.cpp and Ollama's importers know.
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// The template with a system message put into the first message of the user, two lines above its text, where that follows.
#[must_use]
pub fn system_into_user(source: &str) -> String {
    before(
        source,
        "{%- if messages|length > 1 and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' %}\
         {%- set messages = [{'role': 'user', 'content': messages[0]['content'] ~ '\\n\\n' ~ messages[1]['content']}] + messages[2:] %}\
         {%- endif %}",
    )
}

/// The template with values for what it is not given; None if one of them is no text, number, truth or null.
#[must_use]
pub fn with_defaults(source: &str, arguments: &Map<String, Value>) -> Option<String> {
    let mut prologue = String::new();
    for (name, value) in arguments {
        if !is_name(name) {
            return None;
        }
        let literal = match value {
            Value::Null => "none".to_owned(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::String(text) => literal(text)?,
            Value::Array(_) | Value::Object(_) => return None,
        };
        let _ = write!(
            prologue,
            "{{%- if {name} is not defined %}}{{%- set {name} = {literal} %}}{{%- endif %}}"
        );
    }
    Some(before(source, &prologue))
}

/// Words that Jinja keeps for itself.
const RESERVED: [&str; 19] = [
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "for",
    "set",
    "loop",
    "self",
    "recursive",
    "import",
];

/// Whether a template can set it.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.chars().all(fits) && !RESERVED.contains(&name)
}

/// A text between quotes, of which nothing needs an escape.
fn literal(text: &str) -> Option<String> {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '\'' | '\\' | '{' | '}' | '%' | '#');
    text.chars().all(is_plain).then(|| format!("'{text}'"))
}

/// Jinja takes one newline behind a statement, and blanks before one that begins a line: a template that begins with either
/// goes on in a line of its own.
fn before(source: &str, prologue: &str) -> String {
    let between = match source.starts_with(char::is_whitespace) {
        true if !prologue.is_empty() => "\n",
        _ => "",
    };
    format!("{prologue}{between}{source}")
}
