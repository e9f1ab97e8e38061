//! Where the dataset goes, and the receipt of it.
use crate::Args;
use lora_cli::{Foreign as _, Result, Ui, draft};
use lora_data::Manifest;
use lora_receipt::{Artefact, Draft, Input, Staged};
use std::path::Path;

/// Claims the output folder.
pub(crate) fn stage(args: &Args, out: &Path) -> Result<Staged> {
    Ok(Staged::folder(out, args.force)?)
}

/// Writes the receipt and makes the folder final.
pub(crate) fn commit(
    output: Staged,
    args: &Args,
    inputs: Vec<Input>,
    manifest: &Manifest,
    ui: &Ui,
) -> Result<()> {
    let draft = Draft {
        results: serde_json::to_value(manifest).foreign()?,
        ..draft::<Args>(ui, args, Artefact::Dataset, inputs)?
    };
    lora_cli::commit(ui, output, draft)
}
