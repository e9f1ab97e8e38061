//! Where the merge goes, and the receipt of it.
use crate::Args;
use crate::check::Check;
use crate::inputs::Inputs;
use crate::weights::Moved;
use lora_cli::{Error, Result, Ui, draft};
use lora_receipt::{Artefact, Draft, Staged};
use serde_json::{Value, json};

/// Claims the output folder.
pub(crate) fn stage(args: &Args) -> Result<Staged> {
    let out = args
        .out
        .as_ref()
        .ok_or_else(|| Error::new("no output").hint("name one: --out DIR"))?;
    match args.writes_gguf() {
        true => Ok(Staged::file(out, args.force)?),
        false => Ok(Staged::folder(out, args.force)?),
    }
}

/// Writes the receipt and makes the folder final.
pub(crate) fn commit(
    output: Staged,
    args: &Args,
    inputs: Inputs,
    moved: &Moved,
    check: Option<&Check>,
    ui: &Ui,
) -> Result<()> {
    inputs.base.checkpoint().check_unchanged()?;
    let draft = Draft {
        results: results(moved, check, &inputs),
        ..draft::<Args>(ui, args, Artefact::Model, inputs.hashed)?
    };
    lora_cli::commit(ui, output, draft)
}

fn results(moved: &Moved, check: Option<&Check>, inputs: &Inputs) -> Value {
    let mut results = json!({
        "combined": inputs.combined,
        "targeted_weights": moved.values,
        "moved_weights": moved.rounded,
        "kept": moved.kept(),
        "check": check.map(Check::figures),
        "chat": inputs.served.result(),
    });
    if let Some(end) = inputs.end {
        results["added_end"] = end.into();
    }
    if let Some(added) = inputs.base.checkpoint().added_vocabulary() {
        results["vocabulary"] = added.rows.into();
        results["added_tokens"] = added.tokens.values().cloned().collect();
    }
    results
}
