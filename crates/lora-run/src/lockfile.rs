//! `PIPELINE.lock`: the gathered receipts of a finished pipeline, for git. Without what was measured of the run (times,
//! memory) and without settings that change nothing of what was made (threads): equal runs write equal locks.
use crate::record::{Definition, write_whole};
use crate::resolve::Step;
use crate::tools::Tool;
use lora_cli::Result;
use lora_receipt::Receipt;
use serde_json::{Map, Value, json};
use std::path::Path;

/// One finished step.
#[derive(Debug)]
pub(crate) struct Finished<'a> {
    pub(crate) step: &'a Step,
    pub(crate) tool: Option<&'a Tool>,
    pub(crate) definition: Definition,
    pub(crate) receipt: Receipt,
}

/// Writes the lock of a pipeline beside its file.
pub(crate) fn write(path: &Path, pipeline: &str, finished: &[Finished<'_>]) -> Result<()> {
    let mut steps = Map::new();
    for Finished {
        step,
        tool,
        definition,
        receipt,
    } in finished
    {
        let entry = json!({
            "key": definition.key(),
            "tool": definition.tool,
            "tool_version": definition.tool_version,
            "with": definition.with,
            "config": config(receipt, *tool),
            "inputs": receipt.inputs,
            "outputs": receipt.outputs,
            "results": receipt.results,
        });
        steps.insert(step.id.clone(), entry);
    }
    write_whole(
        path,
        &json!({ "version": 2, "pipeline": pipeline, "steps": steps }),
    )
}

/// The settings that have an effect.
fn config(receipt: &Receipt, tool: Option<&Tool>) -> Value {
    let Some(fields) = receipt.config.as_object() else {
        return receipt.config.clone();
    };
    let kept = fields
        .iter()
        .filter(|(name, _)| tool.is_none_or(|tool| tool.has_effect(name)));
    Value::Object(kept.map(|(k, v)| (k.clone(), v.clone())).collect())
}
