//! Looks at all steps before one of them runs: tools, flags, paths, names on the hub.
use crate::arguments;
use crate::file::Source;
use crate::hub::Pins;
use crate::ready::Ready;
use crate::record::{read_paths, with_paths};
use crate::resolve::{Action, Step};
use crate::tools::{self, Tool};
use lora_cli::{Result, is_hub};
use lora_receipt::Overlaps;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Checks tools, flags and input paths of all steps before anything runs.
pub(crate) fn prepare(source: &Source, steps: Vec<Step>, pins: &mut Pins) -> Result<Vec<Ready>> {
    let mut known: BTreeMap<String, Arc<Tool>> = BTreeMap::new();
    let mut ready = Vec::new();
    let mut overlaps = Overlaps::default();
    for mut step in steps {
        for (key, paths) in &step.inputs {
            if let Some(missing) = paths
                .iter()
                .find(|input| input.from.is_none() && is_absent(&input.path))
            {
                let at = ["steps", step.name.as_str(), "in", key];
                let error =
                    source.error_at(&at, format!("{} does not exist", missing.path.display()));
                return Err(
                    error.hint("a path counts from the folder in which lora-run is started")
                );
            }
        }
        for (key, path) in read_paths(&step, None) {
            if let Err(overlap) = overlaps.refuse(&step.out, &path) {
                let at = ["steps", step.name.as_str(), "in", &key];
                let error = source.error_at(&at, overlap);
                return Err(error.hint("an input lies outside of what the step writes, WORK/P/S"));
            }
        }
        let tool = match &step.action {
            Action::Use(name) if known.contains_key(name) => known.get(name).cloned(),
            Action::Use(name) => {
                let tool = Arc::new(tools::find(source, &step, name)?);
                known.insert(name.clone(), Arc::clone(&tool));
                Some(tool)
            }
            Action::Run(_) => None,
        };
        pins.step(source, &mut step, tool.as_deref())?;
        let arguments = tool
            .as_ref()
            .map_or(Ok(Vec::new()), |tool| tool.arguments(source, &step))?;
        for (key, path) in with_paths(&step, tool.as_deref()) {
            if is_absent(&path) {
                let at = ["steps", step.name.as_str(), "with", &key];
                let error = source.error_at(&at, format!("{} does not exist", path.display()));
                return Err(
                    error.hint("a path counts from the folder in which lora-run is started")
                );
            }
        }
        ready.push(Ready {
            step,
            tool,
            arguments,
        });
    }
    arguments::check(source, &ready)?;
    Ok(ready)
}

/// True for a path that leads nowhere; a name on the hub is no path.
fn is_absent(path: &Path) -> bool {
    !is_hub(path) && !path.exists()
}
