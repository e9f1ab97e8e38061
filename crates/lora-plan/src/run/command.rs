//! The command line of a run again, with some flags changed.
use super::Training;
use serde_json::Value;
use std::fmt::Write as _;

/// Settings that lora-train has anyway, left out of a command that people read.
const USUAL: [(&str, &str); 7] = [
    ("method", "lora"),
    ("accumulation", "1"),
    ("weight-decay", "0.0"),
    ("clip", "1.0"),
    ("route", "fused"),
    ("schedule", "linear"),
    ("warmup", "0.03"),
];
/// Settings that don't belong to the result, or that others spell out.
const LEFT_OUT: [&str; 2] = ["threads", "preset"];

/// `lora-train` with the settings of a run, but for `changes` (None takes a flag away), into a new folder. None
/// for a run without a receipt, whose settings are not known.
pub(crate) fn train_again(training: &Training, changes: &[(&str, Option<String>)]) -> Option<String> {
    let config = training.receipt.as_ref()?.config.as_object()?;
    let mut flags: Vec<(String, Option<String>)> = Vec::new();
    for (key, value) in config.iter().filter(|(key, _)| !LEFT_OUT.contains(&key.as_str())) {
        let Some(text) = written(value) else { continue };
        if !USUAL.contains(&(key.as_str(), text.as_deref().unwrap_or_default())) {
            flags.push((key.clone(), text));
        }
    }
    for (flag, value) in changes {
        let at = flags.iter().position(|(key, _)| key == flag);
        match (at, value) {
            (Some(at), Some(value)) => flags[at].1 = Some(value.clone()),
            (Some(at), None) => drop(flags.remove(at)),
            (None, Some(value)) => flags.push(((*flag).to_owned(), Some(value.clone()))),
            (None, None) => {}
        }
    }
    let mut line = "lora-train".to_owned();
    for (flag, value) in &flags {
        let _ = write!(line, " --{flag}");
        if let Some(value) = value {
            let _ = write!(line, " {}", quoted(value));
        }
    }
    let folder = training.folder.display().to_string();
    let again = format!("{}-2", folder.strip_suffix(".partial").unwrap_or(&folder).trim_end_matches('/'));
    Some(line + " --out " + &quoted(&again))
}

/// A setting as its flag's value; Some(None) for a switch, None if it is off.
#[allow(clippy::option_option)]
fn written(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().filter_map(|item| written(item).flatten()).collect();
            Some(Some(texts.join(",")))
        }
        other => Some(Some(other.to_string())),
    }
}

/// A word as a shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
