//! From a pipeline file to the steps that run: params and matrix filled in, references bound to earlier steps.
mod names;
mod params;
mod scope;
mod step;

pub(crate) use step::{Action, Step};

use crate::file::Source;
use lora_cli::Result;
use names::Taken;
use params::{axes, combinations, params};
use scope::Scope;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use step::Earlier;

/// All steps of all combinations, in order; equal ones once. `set` are the `--set key=value` of the command line.
pub(crate) fn resolve(source: &Source, set: &[(String, Value)], work: &Path) -> Result<Vec<Step>> {
    let axes = axes(source, set)?;
    let mut steps: Vec<Step> = Vec::new();
    let mut of_name: HashMap<String, Vec<usize>> = HashMap::new();
    let mut taken = Taken::default();
    for combination in combinations(&axes) {
        let params = params(source, set, &combination)?;
        let mut here = Earlier::default();
        for (name, written) in source.file.steps.iter() {
            let mut step = Scope {
                source,
                params: &params,
                earlier: &here,
                name,
            }
            .step(written)?;
            let known = of_name.entry(step.name.clone()).or_default();
            let same = known.iter().find(|&&index| steps[index].same_as(&step));
            if let Some(&index) = same {
                here.push(steps[index].clone());
                continue;
            }
            step.id = taken.unique_id(&step, &combination);
            step.out = work.join(source.name()).join(&step.id);
            known.push(steps.len());
            steps.push(step.clone());
            here.push(step);
        }
    }
    Ok(steps)
}
