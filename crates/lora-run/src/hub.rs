//! Names on the hub: each is given its commit before anything runs, so that all steps of a run read the same, and a step's
//! key says which that was. Nothing is fetched here.
use crate::file::Source;
use crate::resolve::Step;
use crate::tools::Tool;
use crate::values::shown;
use lora_cli::{Error, Result, Ui, is_hub, pin_hub, pinned_in_cache};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What names were found to stand for.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// True if the hub is asked; else only the cache.
    asks: bool,
    /// By the name and what it is given to.
    known: BTreeMap<(PathBuf, String), PathBuf>,
}

impl Pins {
    /// By asking the hub, or by the cache alone.
    pub(crate) fn new(asks: bool) -> Self {
        Self {
            asks,
            ..Self::default()
        }
    }

    /// Gives each name in a step its commit. One that the cache does not know stays as it is, if nobody may be asked.
    pub(crate) fn step(
        &mut self,
        source: &Source,
        step: &mut Step,
        tool: Option<&Tool>,
    ) -> Result<()> {
        let name = step.name.clone();
        for (key, paths) in &mut step.inputs {
            let at = ["steps", name.as_str(), "in", key];
            for input in paths.iter_mut().filter(|input| is_hub(&input.path)) {
                input.path = self.pinned(source, &at, &input.path)?;
            }
        }
        for (key, value) in &mut step.with {
            if !tool.is_some_and(|tool| tool.reads(key)) {
                continue;
            }
            let at = ["steps", name.as_str(), "with", key];
            let values = match value {
                Value::Array(values) => values.iter_mut().collect(),
                one => vec![one],
            };
            for value in values {
                let path = PathBuf::from(shown(value));
                if is_hub(&path) {
                    let pinned = self.pinned(source, &at, &path)?;
                    *value = Value::String(pinned.to_string_lossy().into_owned());
                }
            }
        }
        Ok(())
    }

    fn pinned(&mut self, source: &Source, at: &[&str], path: &Path) -> Result<PathBuf> {
        let flag = at.last().copied().unwrap_or_default();
        let asked = (path.to_path_buf(), flag.to_owned());
        if let Some(known) = self.known.get(&asked) {
            return Ok(known.clone());
        }
        let found = match self.asks {
            true => pin_hub(path, flag),
            false => pinned_in_cache(path, flag).map(|found| found.unwrap_or(path.to_path_buf())),
        };
        let found = found.map_err(|error| placed(source, at, error))?;
        self.known.insert(asked, found.clone());
        Ok(found)
    }

    /// Says what a run would ask anew: which commits are taken by the cache alone.
    pub(crate) fn say_unasked(&self, ui: &Ui) {
        for ((name, _), found) in self
            .known
            .iter()
            .filter(|((name, _), found)| name != *found)
        {
            let (name, found) = (name.display(), found.display());
            ui.say(&format!(
                "{name} is {found} by the cache; a run asks the hub"
            ));
        }
    }
}

/// The error, with its place in the pipeline's file.
fn placed(source: &Source, at: &[&str], error: Error) -> Error {
    let hint = error.failure(0).hint;
    let placed = source.error_at(at, &error);
    match (error.is_interrupted(), hint) {
        (true, _) => error,
        (false, Some(hint)) => placed.hint(hint),
        (false, None) => placed,
    }
}
