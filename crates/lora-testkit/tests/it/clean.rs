//! Takes out of a transcript what differs from run to run and from machine to machine.
use serde_json::{Map, Value};
use std::path::Path;

/// What a key's name holds whose value was measured, or depends on the machine.
const MEASURED: [&str; 9] = [
    "seconds", "bytes", "peak", "per_s", "share", "version", "moved", "kept", "check",
];

/// Keys of a receipt that are shown; the others are tested where they are written.
const OF_RECEIPTS: [&str; 5] = ["tool", "artefact", "out", "seed", "results"];

/// The transcript as it is the same everywhere.
pub(crate) fn clean(text: &str, dir: &Path, programs: &Path) -> String {
    let dir = dir.display().to_string();
    let programs = programs.display().to_string();
    let text = text.replace("\r\n", "\n").replace(&dir, "[DIR]");
    let text = text.replace(&programs, "[BIN]");
    let text = text.replace(".exe", "");
    let is_of_the_machine =
        |line: &&str| ["memory: ", "device: "].iter().any(|s| line.starts_with(s));
    text.lines()
        .filter(|line| !is_of_the_machine(line))
        .map(|line| clean_line(line) + "\n")
        .collect()
}

fn clean_line(line: &str) -> String {
    match serde_json::from_str(line) {
        Ok(Value::Object(mut fields)) => {
            if fields.contains_key("artefact") {
                fields.retain(|key, _| OF_RECEIPTS.contains(&key.as_str()));
            }
            shown(Value::Object(fields)).to_string()
        }
        _ => line.trim_end().to_owned(),
    }
}

/// A JSON value without measurements, its hashes by name, its numbers to three digits.
fn shown(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(key, _)| !MEASURED.iter().any(|word| key.contains(word)))
                .map(|(key, value)| (key, shown(value)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(values) => values.into_iter().map(shown).collect(),
        Value::String(text) if is_hash(&text) => "[SHA256]".into(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            let rounded: f64 = format!("{number:.2e}").parse().unwrap();
            rounded.into()
        }
        other => other,
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
