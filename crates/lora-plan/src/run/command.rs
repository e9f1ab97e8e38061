//! The command line of a run again, with some flags changed.
use super::{DatasetFacts, Training};
use lora_receipt::Receipt;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Settings that lora-train has anyway, left out of a command that people read.
const USUAL: [(&str, &str); 8] = [
    ("method", "lora"),
    ("accumulation", "1"),
    ("weight-decay", "0"),
    ("clip", "1"),
    ("dropout", "0"),
    ("route", "fused"),
    ("schedule", "linear"),
    ("warmup", "0.03"),
];
/// Settings that don't belong to the result, or that others spell out.
const LEFT_OUT: [&str; 3] = ["threads", "preset", "out"];
/// Settings that lora-prep has anyway.
const USUAL_PREP: [(&str, &str); 3] = [("valid", "0.1"), ("test", "0"), ("seed", "0")];
/// Settings that lora-eval, lora-merge and lora-export have anyway.
const USUAL_OUTPUT: [(&str, &str); 5] =
    [("split", "valid"), ("batch-tokens", "1024"), ("combine", "cat"), ("check-rows", "3"), ("format", "gguf")];

/// `lora-train` with the settings of a run, but for `changes` (None takes a flag away), into a new folder. None
/// for a run without a receipt, whose settings are not known.
pub(crate) fn train_again(training: &Training, changes: &[(&str, Option<String>)]) -> Option<String> {
    let mut flags = flags(training.receipt.as_ref()?, &USUAL)?;
    change(&mut flags, changes);
    Some(line("lora-train", &[], &flags, &free_name(&training.folder)))
}

/// The command that makes a report, a merged model or an export once more, with another type if one is given: then
/// beside the old one, else in its place.
pub(crate) fn output_again(receipt: &Receipt, dtype: Option<&str>) -> Option<String> {
    let mut flags = flags(receipt, &USUAL_OUTPUT)?;
    let Some(dtype) = dtype else {
        flags.push(("force".to_owned(), None));
        return Some(line(&receipt.tool, &[], &flags, &receipt.out));
    };
    change(&mut flags, &[("dtype", Some(dtype.to_owned()))]);
    let out = receipt.out.display().to_string();
    let out = out.strip_suffix(".gguf").map_or(format!("{out}-{dtype}"), |stem| format!("{stem}-{dtype}.gguf"));
    Some(line(&receipt.tool, &[], &flags, Path::new(&out)))
}

/// `lora-prep` with the settings that made a dataset, but for `changes`, into a new folder. None if lora-prep did not
/// make it or its raw records are gone.
pub(crate) fn prep_again(data: &DatasetFacts, changes: &[(&str, Option<String>)]) -> Option<String> {
    let receipt = data.receipt.as_ref().filter(|receipt| receipt.tool == "lora-prep")?;
    let raw: Vec<String> =
        receipt.config["raw"].as_array()?.iter().filter_map(|path| path.as_str().map(str::to_owned)).collect();
    if raw.is_empty() || raw.iter().any(|path| !Path::new(path).exists()) {
        return None;
    }
    let mut flags = flags(receipt, &USUAL_PREP)?;
    flags.retain(|(flag, _)| flag != "raw");
    change(&mut flags, changes);
    Some(line("lora-prep", &raw, &flags, &free_name(&data.path)))
}

/// Flags and their values; None for a switch.
type Flags = Vec<(String, Option<String>)>;

/// The settings of a receipt but for the usual ones.
fn flags(receipt: &Receipt, usual: &[(&str, &str)]) -> Option<Flags> {
    let settings = receipt.config.as_object()?.iter().filter(|(key, _)| !LEFT_OUT.contains(&key.as_str()));
    let written = settings.filter_map(|(key, value)| Some((key.clone(), written(value)?)));
    let is_usual = |key: &str, text: &Option<String>| usual.contains(&(key, text.as_deref().unwrap_or_default()));
    Some(written.filter(|(key, text)| !is_usual(key, text)).collect())
}

fn change(flags: &mut Flags, changes: &[(&str, Option<String>)]) {
    for (flag, value) in changes {
        let at = flags.iter().position(|(key, _)| key == flag);
        match (at, value) {
            (Some(at), Some(value)) => flags[at].1 = Some(value.clone()),
            (Some(at), None) => drop(flags.remove(at)),
            (None, Some(value)) => flags.push(((*flag).to_owned(), Some(value.clone()))),
            (None, None) => {}
        }
    }
}

/// A command line.
fn line(tool: &str, words: &[String], flags: &Flags, out: &Path) -> String {
    let mut line = tool.to_owned();
    for word in words {
        let _ = write!(line, " {}", quoted(word));
    }
    for (flag, value) in flags {
        let _ = write!(line, " --{flag}");
        if let Some(value) = value {
            let _ = write!(line, " {}", quoted(value));
        }
    }
    line + " --out " + &quoted(&out.display().to_string())
}

/// A folder beside an old one that does not exist yet: `adapter-2`, `adapter-3` …
fn free_name(old: &Path) -> PathBuf {
    let old = old.display().to_string();
    let stem = old.strip_suffix(".partial").unwrap_or(&old).trim_end_matches('/');
    let name = |number: usize| PathBuf::from(format!("{stem}-{number}"));
    (2..1000).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(1000))
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
        Value::Number(number) => Some(Some(number.as_f64().map_or_else(|| number.to_string(), |x| x.to_string()))),
        Value::Object(_) => None,
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
