//! Values of a JSON object by their types; an error names the key and what it must be.
use crate::Pattern;
use serde_json::{Map, Value};

pub(super) fn expect_word(
    fields: &Map<String, Value>,
    key: &str,
    word: &str,
) -> Result<(), String> {
    match fields.get(key) {
        Some(Value::String(found)) if found == word => Ok(()),
        Some(found) => Err(format!("{key} is {found}, only \"{word}\" is supported")),
        None => Err(format!(
            "no key `{key}`: not an adapter_config.json of PEFT"
        )),
    }
}

/// A value of the right type; null stands for PEFT's default.
pub(super) fn read<T>(
    value: &Value,
    default: Value,
    key: &str,
    kind: &str,
    get: impl Fn(&Value) -> Option<T>,
) -> Result<T, String> {
    let value = if value.is_null() { &default } else { value };
    get(value).ok_or_else(|| format!("{key} must be {kind}, not {value}"))
}

pub(super) fn as_string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_string)
}

/// A word that is not empty: PEFT takes an empty one as unset.
pub(super) fn as_word(value: &Value) -> Option<String> {
    as_string(value).filter(|word| !word.is_empty())
}

pub(super) fn as_count(value: &Value) -> Option<usize> {
    value.as_u64()?.try_into().ok()
}

pub(super) fn read_list(value: &Value, key: &str) -> Result<Vec<String>, String> {
    let items = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => items.iter().map(as_word).collect(),
        _ => None,
    };
    items.ok_or_else(|| format!("{key} must be a list of strings, not {value}"))
}

/// A single value, or a list of them; empty if unset.
pub(super) fn one_or_list<T>(
    value: &Value,
    key: &str,
    kind: &str,
    get: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, String> {
    let items = match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        Value::Array(items) => items.iter().map(get).collect(),
        one => get(one).map(|one| vec![one]),
    };
    items.ok_or_else(|| format!("{key} must be {kind}, not {value}"))
}

pub(super) fn read_pattern<T>(
    value: &Value,
    key: &str,
    kind: &str,
    get: impl Fn(&Value) -> Option<T>,
) -> Result<Pattern<T>, String> {
    let pairs = match value {
        Value::Null => Some(Vec::new()),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| Some((name.clone(), get(value)?)))
            .collect(),
        _ => None,
    };
    pairs
        .map(Pattern)
        .ok_or_else(|| format!("{key} must map names of modules to {kind}, not {value}"))
}
