//! `PIPELINE.lock`: the gathered receipts of a finished pipeline, for git. Without times and memory, which change
//! from run to run and say nothing of what was made.
use crate::record::{Definition, write_whole};
use crate::resolve::Step;
use lora_cli::Result;
use lora_receipt::Receipt;
use serde_json::{Map, Value, json};
use std::path::Path;

/// One finished step.
#[derive(Debug)]
pub(crate) struct Finished<'a> {
    pub(crate) step: &'a Step,
    pub(crate) definition: Definition,
    pub(crate) receipt: Receipt,
}

/// Writes the lock of a pipeline beside its file.
pub(crate) fn write(path: &Path, pipeline: &str, finished: &[Finished<'_>]) -> Result<()> {
    let mut steps = Map::new();
    for Finished {
        step,
        definition,
        receipt,
    } in finished
    {
        let entry = json!({
            "key": definition.key(),
            "tool": definition.tool,
            "tool_version": definition.tool_version,
            "with": definition.with,
            "config": receipt.config,
            "inputs": receipt.inputs,
            "outputs": receipt.outputs,
            "results": steady(&receipt.results),
        });
        steps.insert(step.id.clone(), entry);
    }
    write_whole(
        path,
        &json!({ "version": 1, "pipeline": pipeline, "steps": steps }),
    )
}

/// Result figures less those that a second run would not repeat.
fn steady(results: &Value) -> Value {
    let changes = |name: &str| {
        ["second", "per_s", "rss", "memory", "time"]
            .iter()
            .any(|part| name.contains(part))
    };
    match results {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(k, _)| !changes(k))
                .map(|(k, v)| (k.clone(), steady(v)))
                .collect(),
        ),
        other => other.clone(),
    }
}
