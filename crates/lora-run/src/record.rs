//! Why a step runs or is skipped: its key, the record of its last run, and the first difference between them.
use crate::resolve::{Action, Step};
use crate::tools::Tool;
use crate::values::shown;
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Result};
use lora_receipt::{Hashes, Input, Receipt, hash_bytes, receipt_path};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The record format that this version reads and writes.
const VERSION: u32 = 1;

/// All that decides what a step makes. Its hash is the step's key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    /// The tool, or `sh`.
    pub(crate) tool: String,
    /// The tool's version, or the shell line.
    pub(crate) tool_version: String,
    /// Flags, as text, by name: their order does not matter.
    pub(crate) with: BTreeMap<String, String>,
    /// Content hashes by input name.
    pub(crate) inputs: BTreeMap<String, Vec<String>>,
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
        for (name, paths) in &step.inputs {
            for input in paths {
                let hash = hashes.hash_path(&input.path);
                let sha256 = hash
                    .context(|| format!("failed to read the input `{name}` of step {}", step.id))?;
                by_name
                    .entry(name.clone())
                    .or_default()
                    .push(sha256.clone());
                found.push(Input::new(name.clone(), input.path.clone(), sha256));
            }
        }
        let (name, version) = match &step.action {
            Action::Use(name) => (
                name.clone(),
                tool.map(|t| t.version.clone()).unwrap_or_default(),
            ),
            Action::Run(line) => ("sh".to_owned(), line.clone()),
        };
        let with = step
            .with
            .iter()
            .map(|(key, value)| (key.clone(), shown(value)))
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
                let text =
                    |value: Option<&String>| value.map_or("(not set)".to_owned(), Clone::clone);
                changes.push(format!("with.{name}: {} → {}", text(old), text(new)));
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

impl Record {
    /// Where the record of an output lies.
    pub(crate) fn path(out: &Path) -> PathBuf {
        with_suffix(out, ".step.json")
    }

    /// Writes the record of a run that has just ended, whole or not at all.
    pub(crate) fn save(out: &Path, definition: &Definition, passed: bool) -> Result<()> {
        let receipt_sha256 = lora_receipt::hash_path(&receipt_path(out))?;
        let definition = definition.clone();
        write_whole(
            &Self::path(out),
            &Self {
                version: VERSION,
                key: definition.key(),
                definition,
                receipt_sha256,
                passed,
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
    let Ok(receipt) = Receipt::load(&step.out) else {
        return run("output has no readable receipt");
    };
    if lora_receipt::hash_path(&receipt_path(&step.out))? != record.receipt_sha256 {
        return run("output modified (another run wrote it)");
    }
    match receipt.first_change(&step.out, hashes)? {
        Some(change) => Ok(Decision::Run(format!("output modified ({change})"))),
        None => Ok(Decision::Skip),
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
