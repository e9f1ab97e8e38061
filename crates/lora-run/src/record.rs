//! Why a step runs or is skipped: its key, the record of its last run, and the first difference between them.
use crate::resolve::{Action, Step};
use crate::secret::{HIDDEN, hide_named, is_secret};
use crate::tools::Tool;
use crate::values::shown;
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Result, is_hub};
use lora_receipt::{Hashes, Input, Receipt, hash_bytes, heal, receipt_path};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The record format that this version reads and writes.
const VERSION: u32 = 2;

/// All that decides what a step makes. Its hash is the step's key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    /// The tool, or `sh`.
    pub(crate) tool: String,
    /// The tool's version, or the shell line.
    pub(crate) tool_version: String,
    /// Flags that have an effect, by name: their order does not matter.
    pub(crate) with: BTreeMap<String, Setting>,
    /// Content hashes by input name; of what lies on the hub its name with the commit.
    pub(crate) inputs: BTreeMap<String, Vec<String>>,
}

/// A flag's value as text: one, or a list of them, which is not the same as one with commas in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Setting {
    One(String),
    List(Vec<String>),
}

impl Setting {
    fn of(name: &str, value: &Value, secrets: &[String]) -> Self {
        match value {
            _ if is_secret(name) => Self::One(HIDDEN.to_owned()),
            Value::Array(items) => Self::List(
                items
                    .iter()
                    .map(|one| hide_named(&shown(one), secrets))
                    .collect(),
            ),
            one => Self::One(hide_named(&shown(one), secrets)),
        }
    }

    /// For people; `as_list` in brackets.
    fn text(&self, as_list: bool) -> String {
        match self {
            Self::One(text) => text.clone(),
            Self::List(items) if as_list => format!("[{}]", items.join(", ")),
            Self::List(items) => items.join(","),
        }
    }
}

/// What lies beside a step's output: `WORK/PIPELINE/STEP.step.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    pub(crate) key: String,
    definition: Definition,
    /// sha256 of the receipt that this run left, so that an output of another run is not taken for it.
    receipt_sha256: String,
    /// False if the step's answer was no.
    passed: bool,
    /// That receipt, to be put back if it is damaged or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

/// What is to be done with a step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    Skip,
    /// With the reason, for people.
    Run(String),
}

impl Definition {
    /// Hashes the inputs of a step; also gives them as a receipt names them.
    pub(crate) fn of(
        step: &Step,
        tool: Option<&Tool>,
        hashes: &mut Hashes,
    ) -> Result<(Self, Vec<Input>)> {
        let mut found = Vec::new();
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, path) in read_paths(step, tool) {
            // A commit never changes, so that its name says all that its content could.
            let is_commit = is_hub(&path);
            let hash = match is_commit {
                true => Ok(path.to_string_lossy().into_owned()),
                false => hashes.hash_path(&path),
            };
            let sha256 =
                hash.context(|| format!("failed to read the input `{name}` of step {}", step.id))?;
            by_name
                .entry(name.clone())
                .or_default()
                .push(sha256.clone());
            found.push(match is_commit {
                true => Input::of_hub(name, path),
                false => Input::new(name, path, sha256),
            });
        }
        let (name, version) = match &step.action {
            Action::Use(name) => (
                name.clone(),
                tool.map(|t| t.version.clone()).unwrap_or_default(),
            ),
            Action::Run(line) => ("sh".to_owned(), hide_named(line, &step.secrets)),
        };
        let with = step
            .with
            .iter()
            .filter(|(key, _)| tool.is_none_or(|t| t.has_effect(key) && !t.reads(key)))
            .map(|(key, value)| (key.clone(), Setting::of(key, value, &step.secrets)))
            .collect();
        Ok((
            Self {
                tool: name,
                tool_version: version,
                with,
                inputs: by_name,
            },
            found,
        ))
    }

    /// sha256 over all of it, in sorted order.
    pub(crate) fn key(&self) -> String {
        hash_bytes(serde_json::to_string(self).unwrap_or_default().as_bytes())
    }

    /// How this differs from what was run before, for people; none if it does not.
    fn difference(&self, before: &Self) -> Option<String> {
        if self.tool != before.tool {
            return Some(format!("tool {} → {}", before.tool, self.tool));
        }
        if self.tool_version != before.tool_version {
            let line = self.tool == "sh";
            let version = || {
                format!(
                    "tool version {} → {}",
                    before.tool_version, self.tool_version
                )
            };
            return Some(if line {
                "run line changed".to_owned()
            } else {
                version()
            });
        }
        let mut changes: Vec<String> = Vec::new();
        let names: std::collections::BTreeSet<_> =
            self.with.keys().chain(before.with.keys()).collect();
        for name in names {
            let (old, new) = (before.with.get(name), self.with.get(name));
            if old != new {
                changes.push(format!("with.{name}: {}", change(old, new)));
            }
        }
        let names: std::collections::BTreeSet<_> =
            self.inputs.keys().chain(before.inputs.keys()).collect();
        let changed = names
            .into_iter()
            .filter(|name| self.inputs.get(*name) != before.inputs.get(*name));
        changes.extend(changed.map(|name| format!("input {name} changed")));
        (!changes.is_empty()).then(|| changes.join(", "))
    }
}

/// `old → new`.
fn change(old: Option<&Setting>, new: Option<&Setting>) -> String {
    let told = |as_list: bool| {
        let text = |value: Option<&Setting>| {
            value.map_or("(not set)".to_owned(), |setting| setting.text(as_list))
        };
        (text(old), text(new))
    };
    let (mut before, mut now) = told(false);
    if before == now {
        (before, now) = told(true);
    }
    format!("{before} → {now}")
}

/// Every path that a step reads, with the flag that names it: those under `in`, and those under `with`.
pub(crate) fn read_paths(step: &Step, tool: Option<&Tool>) -> Vec<(String, PathBuf)> {
    let inputs = step
        .inputs
        .iter()
        .flat_map(|(name, paths)| paths.iter().map(|input| (name.clone(), input.path.clone())));
    inputs.chain(with_paths(step, tool)).collect()
}

/// The paths under `with`.
pub(crate) fn with_paths(step: &Step, tool: Option<&Tool>) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for (key, value) in &step.with {
        if tool.is_some_and(|tool| tool.reads(key)) {
            let values = value
                .as_array()
                .map_or(std::slice::from_ref(value), Vec::as_slice);
            found.extend(
                values
                    .iter()
                    .map(|one| (key.clone(), PathBuf::from(shown(one)))),
            );
        }
    }
    found
}

impl Record {
    /// Where the record of an output lies.
    pub(crate) fn path(out: &Path) -> PathBuf {
        with_suffix(out, ".step.json")
    }

    /// Writes the record of a run that has just ended, whole or not at all.
    pub(crate) fn save(out: &Path, definition: &Definition, passed: bool) -> Result<()> {
        let receipt_sha256 = receipt_sha256(out)?;
        let definition = definition.clone();
        write_whole(
            &Self::path(out),
            &Self {
                version: VERSION,
                key: definition.key(),
                definition,
                receipt_sha256,
                passed,
                receipt: std::fs::read_to_string(receipt_path(out)).ok(),
            },
        )
    }

    /// The record of the last run; none if there is none that this version can read.
    fn load(out: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&std::fs::read(Self::path(out)).ok()?).ok()?;
        (record.version == VERSION).then_some(record)
    }
}

/// Compares a step with its last run.
pub(crate) fn decide(
    step: &Step,
    definition: &Definition,
    hashes: &mut Hashes,
) -> Result<Decision> {
    let run = |reason: &str| Ok(Decision::Run(reason.to_owned()));
    let Some(record) = Record::load(&step.out) else {
        return run(if step.out.exists() {
            "no record of how the output was made"
        } else {
            "first run"
        });
    };
    if let Some(difference) = definition.difference(&record.definition) {
        return Ok(Decision::Run(difference));
    }
    if record.key != definition.key() {
        return run("the record of the last run was edited");
    }
    if !step.out.exists() {
        return run("output is gone");
    }
    if !record.passed {
        return run("the answer was no last time");
    }
    if let Some(receipt) = &record.receipt
        && Receipt::load(&step.out).is_err()
        && !heal(&step.out, receipt, hashes)?
    {
        // What is left of the output is told by its receipt, so that it can be replaced.
        let _ = put_back(&step.out, receipt);
        return run("output modified (its receipt, too)");
    }
    let Ok(receipt) = Receipt::load(&step.out) else {
        return run("output has no readable receipt");
    };
    if receipt_sha256(&step.out)? != record.receipt_sha256 {
        return run("output modified (another run wrote it)");
    }
    match receipt.first_change(&step.out, hashes)? {
        Some(change) => Ok(Decision::Run(format!("output modified ({change})"))),
        None => Ok(Decision::Skip),
    }
}

/// sha256 of the receipt of an output.
pub(crate) fn receipt_sha256(out: &Path) -> Result<String> {
    Ok(lora_receipt::hash_path(&receipt_path(out))?)
}

/// Writes the receipt of our last run into what is left of its output.
fn put_back(out: &Path, receipt: &str) -> std::io::Result<()> {
    match out.is_dir() {
        true => std::fs::write(receipt_path(out), receipt),
        false => Ok(()),
    }
}

/// `path` with a suffix on its last component.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// Writes JSON beside its place and renames it; leaves a file alone that holds the same already.
pub(crate) fn write_whole(path: &Path, value: &impl Serialize) -> Result<()> {
    let failed = || format!("failed to write {}", path.display());
    let text = format!(
        "{}\n",
        serde_json::to_string_pretty(value)
            .foreign()
            .context(failed)?
    );
    if std::fs::read(path).is_ok_and(|now| now == text.as_bytes()) {
        return Ok(());
    }
    let partial = with_suffix(path, ".partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, path))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&partial);
        })
        .foreign()
        .context(failed)
}
