//! `--to-adapter`: the combined adapter as a folder that PEFT loads.
use crate::inputs::{self, Adapters};
use crate::{Args, combine};
use lora_cli::Foreign as _;
use lora_cli::{Result, Ui};
use lora_receipt::{Artefact, Draft, Receipt, Staged};
use std::time::Instant;

/// Combines and writes; no base is needed, since the adapters' own files say what they are for.
pub(crate) fn run(args: &Args, output: Staged, started: Instant, ui: &Ui) -> Result<Receipt> {
    let Adapters {
        loaded,
        modules,
        hashed,
        ..
    } = inputs::open_adapters(args, ui)?;
    let (adapter, results) = combine::adapters(args, loaded, &modules, ui)?;
    adapter.save(output.path())?;
    let draft = Draft {
        tool: "lora-merge".to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        artefact: Artefact::Adapter,
        config: serde_json::to_value(args).foreign()?,
        seed: args.seed,
        inputs: hashed,
        results,
        measured: serde_json::json!({}),
        started,
    };
    Ok(output.commit(draft)?)
}
