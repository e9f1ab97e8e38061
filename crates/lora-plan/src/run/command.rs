//! The command line of a run again, with some flags changed.
use super::{DatasetFacts, Training};
use lora_receipt::Receipt;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Deref;
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
const USUAL_PREP: [(&str, &str); 2] = [("test", "0"), ("seed", "0")];
/// Settings that lora-eval, lora-merge and lora-export have anyway.
const USUAL_OUTPUT: [(&str, &str); 5] = [
    ("split", "valid"),
    ("batch-tokens", "1024"),
    ("combine", "cat"),
    ("check-rows", "3"),
    ("format", "gguf"),
];

/// A command line that somebody may paste into a shell.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(into = "String")]
pub struct CommandLine {
    line: String,
    /// Where its output should lie, until a free name is given to it.
    wish: Option<PathBuf>,
}

impl CommandLine {
    /// A command without an output, or whose output is named in it.
    pub(crate) const fn new(line: String) -> Self {
        Self { line, wish: None }
    }

    /// A command whose output lies at `wish` if that is free, else beside it.
    pub(crate) fn into_new(line: String, wish: impl Into<PathBuf>) -> Self {
        Self {
            line,
            wish: Some(wish.into()),
        }
    }

    /// The command in lines of at most `width` columns, as a shell takes them: broken with `\` before a word.
    pub(crate) fn broken(&self, width: usize) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in shell_words(&self.line) {
            let line = lines.last_mut().map_or(0, |line| line.chars().count());
            // Room for the `\` is kept.
            let more = word.chars().count() + 1;
            if line > 0 && line + more + 2 > width {
                if let Some(line) = lines.last_mut() {
                    line.push_str(" \\");
                }
                lines.push(format!("  {word}"));
            } else if let Some(last) = lines.last_mut() {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.push_str(&word);
            }
        }
        lines
    }

    /// Completes the command with an output that neither exists nor is named by another command.
    pub(crate) fn name_output(&mut self, names: &mut FreeNames) {
        if let Some(wish) = self.wish.take() {
            self.line += &out_flag(&names.take(&wish));
        }
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

impl Deref for CommandLine {
    type Target = str;

    fn deref(&self) -> &str {
        &self.line
    }
}

impl From<CommandLine> for String {
    fn from(command: CommandLine) -> Self {
        command.line
    }
}

/// The outputs that commands have named so far: all of them may be run, one after the other.
#[derive(Debug, Default)]
pub(crate) struct FreeNames(BTreeSet<PathBuf>);

impl FreeNames {
    /// `wish`, or beside it `wish-2`, `wish-3` …: the first that does not exist, is not being written, and was not given
    /// before.
    fn take(&mut self, wish: &Path) -> PathBuf {
        let text = wish.display().to_string();
        let (stem, extension) = text
            .strip_suffix(".gguf")
            .map_or((&text[..], ""), |stem| (stem, ".gguf"));
        let numbered = (2..).map(|number| PathBuf::from(format!("{stem}-{number}{extension}")));
        let is_new = |path: &PathBuf| {
            let partial = PathBuf::from(format!("{}.partial", path.display()));
            !path.exists()
                && !partial.exists()
                && self
                    .0
                    .insert(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        };
        std::iter::once(wish.to_path_buf())
            .chain(numbered)
            .find(is_new)
            .unwrap_or_else(|| wish.to_path_buf())
    }
}

/// `lora-train` with the settings of a run, but for `changes` (None takes a flag away), into a new folder. None
/// for a run without a receipt, whose settings are not known.
pub(crate) fn train_again(
    training: &Training,
    changes: &[(&str, Option<String>)],
) -> Option<CommandLine> {
    let mut flags = flags(training.receipt.as_ref()?, &USUAL)?;
    change(&mut flags, changes);
    Some(CommandLine::into_new(
        line("lora-train", &[], &flags),
        finished(&training.folder),
    ))
}

/// The command that makes a report, a merged model or an export once more, with another type if one is given: then
/// beside the old one, else in its place.
pub(crate) fn output_again(receipt: &Receipt, dtype: Option<&str>) -> Option<CommandLine> {
    let mut flags = flags(receipt, &USUAL_OUTPUT)?;
    let Some(dtype) = dtype else {
        flags.push(("force".to_owned(), None));
        return Some(CommandLine::new(
            line(&receipt.tool, &[], &flags) + &out_flag(&receipt.out),
        ));
    };
    change(&mut flags, &[("dtype", Some(dtype.to_owned()))]);
    let out = receipt.out.display().to_string();
    let out = out
        .strip_suffix(".gguf")
        .map_or(format!("{out}-{dtype}"), |stem| {
            format!("{stem}-{dtype}.gguf")
        });
    Some(CommandLine::into_new(line(&receipt.tool, &[], &flags), out))
}

/// `lora-prep` with the settings that made a dataset, but for `changes`, into a new folder. None if lora-prep did not
/// make it or its raw records are gone.
pub(crate) fn prep_again(
    data: &DatasetFacts,
    changes: &[(&str, Option<String>)],
) -> Option<CommandLine> {
    let receipt = data
        .receipt
        .as_ref()
        .filter(|receipt| receipt.tool == "lora-prep")?;
    let raw: Vec<String> = receipt.config["raw"]
        .as_array()?
        .iter()
        .filter_map(|path| path.as_str().map(str::to_owned))
        .collect();
    if raw.is_empty() || raw.iter().any(|path| !Path::new(path).exists()) {
        return None;
    }
    let mut flags = flags(receipt, &USUAL_PREP)?;
    flags.retain(|(flag, _)| flag != "raw");
    change(&mut flags, changes);
    Some(CommandLine::into_new(
        line("lora-prep", &raw, &flags),
        finished(&data.path),
    ))
}

/// Flags and their values; None for a switch.
type Flags = Vec<(String, Option<String>)>;

/// The settings of a receipt but for the usual ones.
fn flags(receipt: &Receipt, usual: &[(&str, &str)]) -> Option<Flags> {
    let settings = receipt
        .config
        .as_object()?
        .iter()
        .filter(|(key, _)| !LEFT_OUT.contains(&key.as_str()));
    let written = settings.filter_map(|(key, value)| Some((key.clone(), written(value)?)));
    let is_usual = |key: &str, text: &Option<String>| {
        usual.contains(&(key, text.as_deref().unwrap_or_default()))
    };
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

/// A command line, but for its output.
fn line(tool: &str, words: &[String], flags: &Flags) -> String {
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
    line
}

fn out_flag(out: &Path) -> String {
    format!(" --out {}", quoted(&out.display().to_string()))
}

/// The name of an output when it is finished.
fn finished(output: &Path) -> PathBuf {
    let output = output.display().to_string();
    PathBuf::from(
        output
            .strip_suffix(".partial")
            .unwrap_or(&output)
            .trim_end_matches('/'),
    )
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
            let texts: Vec<String> = items
                .iter()
                .filter_map(|item| written(item).flatten())
                .collect();
            Some(Some(texts.join(",")))
        }
        Value::Number(number) => Some(Some(
            number
                .as_f64()
                .map_or_else(|| number.to_string(), |x| x.to_string()),
        )),
        Value::Object(_) => None,
    }
}

/// The words of a command, quotes and all; a flag with the value behind it is one.
fn shell_words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        quoted ^= c == '\'';
        match words.last_mut() {
            Some(word) if c != ' ' || quoted => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    let mut pairs: Vec<String> = Vec::new();
    for word in words {
        match pairs.last_mut() {
            Some(flag)
                if flag.starts_with("--") && !flag.contains(' ') && !word.starts_with("--") =>
            {
                *flag += &format!(" {word}");
            }
            _ => pairs.push(word),
        }
    }
    pairs
}

/// A word as a shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lora_cli::{ToolArgs, describe};

    /// The defaults among these flags, as the tool tells them.
    fn defaults<A: ToolArgs>(flags: &[(&str, &str)]) -> Vec<(String, String)> {
        let described = describe::<A>().flags;
        let default = |name: &str| {
            described
                .iter()
                .find(|flag| flag.name == name)?
                .default
                .clone()
        };
        flags
            .iter()
            .filter_map(|(name, _)| Some(((*name).to_owned(), default(name)?)))
            .collect()
    }

    fn owned(flags: &[(&str, &str)]) -> Vec<(String, String)> {
        flags
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_is_left_out_of_a_command_is_what_its_tool_does_anyway() {
        assert_eq!(defaults::<lora_train::Args>(&USUAL), owned(&USUAL));
        assert_eq!(defaults::<lora_prep::Args>(&USUAL_PREP), owned(&USUAL_PREP));
        let mut of_outputs = defaults::<lora_eval::Args>(&USUAL_OUTPUT);
        of_outputs.extend(defaults::<lora_merge::Args>(&USUAL_OUTPUT));
        of_outputs.extend(defaults::<lora_export::Args>(&USUAL_OUTPUT));
        for usual in owned(&USUAL_OUTPUT) {
            let told: Vec<_> = of_outputs.iter().filter(|flag| flag.0 == usual.0).collect();
            assert!(!told.is_empty(), "{usual:?}: no tool has that flag");
            assert!(
                told.iter().all(|flag| **flag == usual),
                "{usual:?}: {told:?}"
            );
        }
    }
}
