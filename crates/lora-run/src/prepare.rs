//! Looks at all steps before one of them runs: tools, flags, paths, names on the hub.
use crate::arguments::Checks;
use crate::file::Source;
use crate::hub::Pins;
use crate::ready::Ready;
use crate::record::{read_paths, with_paths};
use crate::resolve::{Action, Step};
use crate::tools::{self, Tool};
use lora_cli::{Error, Result, is_hub};
use lora_receipt::Overlaps;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Checks tools, flags and input paths of all steps before anything runs.
pub(crate) fn prepare(source: &Source, steps: Vec<Step>, pins: &mut Pins) -> Result<Vec<Ready>> {
    let mut known: BTreeMap<String, Arc<Tool>> = BTreeMap::new();
    let mut ready = Vec::new();
    let mut overlaps = Overlaps::default();
    let mut checks = Checks::default();
    for mut step in steps {
        refuse_absent_inputs(source, &step)?;
        refuse_overlaps(source, &step, &mut overlaps)?;
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
        let mut arguments = Vec::new();
        if let Some(tool) = &tool {
            arguments = tool.arguments(source, &step)?;
            checks.ask(ready.len(), tool, &arguments)?;
        }
        refuse_absent_settings(source, &step, tool.as_deref())?;
        ready.push(Ready {
            step,
            tool,
            arguments,
        });
    }
    checks.answers(source, &ready)?;
    Ok(ready)
}

fn refuse_absent_inputs(source: &Source, step: &Step) -> Result<()> {
    for (key, paths) in &step.inputs {
        let missing = paths
            .iter()
            .find(|input| input.from.is_none() && is_absent(&input.path));
        if let Some(missing) = missing {
            return Err(absent(
                source,
                &["steps", &step.name, "in", key],
                &missing.path,
            ));
        }
    }
    Ok(())
}

fn refuse_absent_settings(source: &Source, step: &Step, tool: Option<&Tool>) -> Result<()> {
    for (key, path) in with_paths(step, tool) {
        if is_absent(&path) {
            return Err(absent(source, &["steps", &step.name, "with", &key], &path));
        }
    }
    Ok(())
}

fn refuse_overlaps(source: &Source, step: &Step, overlaps: &mut Overlaps) -> Result<()> {
    for (key, path) in read_paths(step, None) {
        if let Err(overlap) = overlaps.refuse(&step.out, &path) {
            let error = source.error_at(&["steps", &step.name, "in", &key], overlap);
            return Err(error.hint("an input lies outside of what the step writes, WORK/P/S"));
        }
    }
    Ok(())
}

/// True for a path that leads nowhere; a name on the hub is no path.
fn is_absent(path: &Path) -> bool {
    !is_hub(path) && !path.exists()
}

fn absent(source: &Source, at: &[&str], path: &Path) -> Error {
    source
        .error_at(at, format!("{} does not exist", path.display()))
        .hint("a path counts from the folder in which lora-run is started")
}
