//! What a pipeline file is resolved to: steps, and on the way params and the steps above.
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

/// A step with nothing left to look up.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Name in the file, and below `steps.` in errors.
    pub(crate) name: String,
    /// Unique name in this run: the name, and the matrix values that it depends on.
    pub(crate) id: String,
    pub(crate) action: Action,
    pub(crate) inputs: Vec<(String, Vec<InputPath>)>,
    pub(crate) with: Vec<(String, Value)>,
    pub(crate) needs: Vec<String>,
    /// Where it writes: `WORK/PIPELINE/ID`.
    pub(crate) out: PathBuf,
    /// Values that are told to it and to nobody else.
    pub(crate) secrets: Vec<String>,
    /// Matrix params that it depends on, through params and inputs.
    pub(super) varies: BTreeSet<String>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Calls a tool.
    Use(String),
    /// Runs a shell line.
    Run(String),
}

/// One path under `in:`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InputPath {
    pub(crate) path: PathBuf,
    /// The step that writes it.
    pub(crate) from: Option<String>,
}

/// A param's value and the matrix params that it depends on.
#[derive(Debug, Clone)]
pub(super) struct Param {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) varies: BTreeSet<String>,
}

/// The steps above the one that is being resolved.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    steps: Vec<Step>,
    by_name: HashMap<String, usize>,
}

impl Earlier {
    pub(super) fn push(&mut self, step: Step) {
        self.by_name.insert(step.name.clone(), self.steps.len());
        self.steps.push(step);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Step> {
        self.steps.get(*self.by_name.get(name)?)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.name.as_str())
    }
}

impl Step {
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.name == other.name
            && self.action == other.action
            && self.inputs == other.inputs
            && self.with == other.with
            && self.needs == other.needs
    }
}
