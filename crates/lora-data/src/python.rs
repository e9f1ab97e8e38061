//! Values written as Python writes them: `print` and `json.dumps`, which chat templates rely on.
use minijinja::value::{Enumerator, Object, Value, ValueKind};
use serde_json::{Map, Value as Json};
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// JSON as a template sees it.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            _ => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(map) => object(map),
    }
}

/// A JSON object as a template sees it, with its keys in order.
pub(crate) fn object(map: &Map<String, Json>) -> Value {
    Value::from_object(Dict(
        map.iter()
            .map(|(key, item)| (key.clone(), value(item)))
            .collect(),
    ))
}

/// Python's `dict` with text as keys: few keys, in the order of the file.
#[derive(Debug)]
struct Dict(Vec<(String, Value)>);

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(
            self.0
                .iter()
                .map(|(key, _)| Value::from(key.as_str()))
                .collect(),
        )
    }

    /// What `~` and filters make of it.
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&Value::from_dyn_object(self.clone())))
    }
}

/// A template's value as JSON, as `json.dumps` sees it.
pub(crate) fn json(value: &Value) -> Json {
    let items = || value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => match value.as_i64() {
            Some(integer) if value.is_integer() => Json::from(integer),
            _ if value.is_integer() => large(value),
            _ => f64::try_from(value.clone()).map_or(Json::Null, Json::from),
        },
        ValueKind::Seq | ValueKind::Iterable => items().map(|item| json(&item)).collect(),
        ValueKind::Map => items()
            .map(|key| {
                (
                    key.to_string(),
                    json(&value.get_item(&key).unwrap_or_default()),
                )
            })
            .collect::<Map<_, _>>()
            .into(),
        _ => Json::String(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        ),
    }
}

/// An integer beyond those with 63 bits and a sign.
fn large(value: &Value) -> Json {
    match u64::try_from(value.clone()) {
        Ok(integer) => Json::from(integer),
        Err(_) => f64::try_from(value.clone()).map_or(Json::Null, Json::from),
    }
}

/// What `{{ value }}` prints: text as it is, the rest as Python's `str`.
pub(crate) fn print(out: &mut minijinja::Output<'_>, value: &Value) -> fmt::Result {
    match value.as_str() {
        Some(text) => out.write_str(text),
        None => out.write_str(&text(value)),
    }
}

/// Python's `repr`.
fn repr(out: &mut String, value: &Value) -> fmt::Result {
    match value.kind() {
        ValueKind::None => out.write_str("None"),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            out.write_char('[')?;
            for (at, item) in value.try_iter().into_iter().flatten().enumerate() {
                out.write_str(if at > 0 { ", " } else { "" })?;
                repr(out, &item)?;
            }
            out.write_char(']')
        }
        ValueKind::Map => {
            out.write_char('{')?;
            for (at, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.write_str(if at > 0 { ", " } else { "" })?;
                repr(out, &key)?;
                out.write_str(": ")?;
                repr(out, &value.get_item(&key).unwrap_or_default())?;
            }
            out.write_char('}')
        }
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => out.write_str(&float(number)),
            Err(_) => write!(out, "{value}"),
        },
        _ => write!(out, "{value}"),
    }
}

/// Python's `repr` of a float: the fewest digits that tell it apart, with an exponent below 1e-4 and from 1e16 on.
pub(crate) fn float(number: f64) -> String {
    if !number.is_finite() {
        return match number {
            _ if number.is_nan() => "nan",
            _ if number > 0.0 => "inf",
            _ => "-inf",
        }
        .to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number == 0.0 || (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return match plain.contains('.') {
            true => plain,
            false => plain + ".0",
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// Python's `str`.
pub(crate) fn text(value: &Value) -> String {
    let mut out = String::new();
    match value.as_str() {
        Some(text) => out.push_str(text),
        None if value.is_undefined() => {}
        None => {
            // Writing into memory can't fail.
            let _ = repr(&mut out, value);
        }
    }
    out
}

/// A Python string literal: single quotes, unless the text has some and no double ones.
fn quoted(out: &mut String, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.write_char(quote)?;
    for character in text.chars() {
        match character {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            _ if character == quote => write!(out, "\\{character}")?,
            _ if character.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(character))?,
            _ => out.write_char(character)?,
        }
    }
    out.write_char(quote)
}

/// Python's `json.dumps` with its arguments.
#[derive(Debug, Default)]
pub(crate) struct Dumps {
    pub(crate) indent: Option<usize>,
    /// Between parts, and between a key and its value; None: Python's own.
    pub(crate) separators: Option<(String, String)>,
    pub(crate) ascii: bool,
}

impl Dumps {
    /// The JSON text of a value.
    pub(crate) fn text(&self, value: &Json) -> String {
        let mut out = String::new();
        self.write(&mut out, value, 0);
        out
    }

    fn write(&self, out: &mut String, value: &Json, level: usize) {
        match value {
            Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(number) => out.push_str(&float(number)),
                None => out.push_str(&number.to_string()),
            },
            Json::String(text) => self.string(out, text),
            Json::Array(items) => {
                let items = items.iter().map(|item| (None, item));
                self.parts(out, ['[', ']'], items, level);
            }
            Json::Object(map) => {
                let items = map.iter().map(|(key, item)| (Some(key), item));
                self.parts(out, ['{', '}'], items, level);
            }
            plain => out.push_str(&plain.to_string()),
        }
    }

    fn parts<'j>(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        items: impl Iterator<Item = (Option<&'j String>, &'j Json)>,
        level: usize,
    ) {
        let own = if self.indent.is_some() { "," } else { ", " };
        let (item, colon) = match &self.separators {
            Some((item, key)) => (item.as_str(), key.as_str()),
            None => (own, ": "),
        };
        out.push(open);
        let mut is_first = true;
        for (key, value) in items {
            out.push_str(if is_first { "" } else { item });
            is_first = false;
            self.line(out, level + 1);
            if let Some(key) = key {
                self.string(out, key);
                out.push_str(colon);
            }
            self.write(out, value, level + 1);
        }
        if !is_first {
            self.line(out, level);
        }
        out.push(close);
    }

    /// A new line, if there are such.
    fn line(&self, out: &mut String, level: usize) {
        if let Some(width) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width.min(64) * level));
        }
    }

    fn string(&self, out: &mut String, text: &str) {
        let json = Json::from(text).to_string();
        if !self.ascii {
            out.push_str(&json);
            return;
        }
        for unit in json.encode_utf16() {
            match u8::try_from(unit)
                .ok()
                .filter(|byte| (b' '..=b'~').contains(byte))
            {
                Some(byte) => out.push(char::from(byte)),
                None => {
                    // Writing into memory can't fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}
