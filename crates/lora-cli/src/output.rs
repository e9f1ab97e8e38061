//! What a tool ends its work with: a receipt of what it read and made, and the output in place.
use crate::{Foreign as _, Result, ToolArgs, Ui};
use lora_receipt::{Artefact, Draft, Input, Staged};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

/// The receipt of what the tool with the arguments `A` makes of `inputs`, without results yet. `settings` are its flags, or
/// those of its subcommand; the seed is theirs.
///
/// # Errors
/// When the settings can't be written as JSON.
pub fn draft<A: ToolArgs>(
    ui: &Ui,
    settings: &impl Serialize,
    artefact: Artefact,
    inputs: Vec<Input>,
) -> Result<Draft> {
    let config = serde_json::to_value(settings).foreign()?;
    Ok(Draft {
        tool: A::command().get_name().to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        artefact,
        seed: config["seed"].as_u64(),
        config,
        inputs,
        results: json!({}),
        measured: json!({}),
        started: ui.started(),
    })
}

/// Puts the output in place with its receipt, and prints that.
///
/// # Errors
/// When the disk refuses: what was there before is still there.
pub fn commit(ui: &Ui, output: Staged, draft: Draft) -> Result<()> {
    commit_without(ui, output, draft, &[])
}

/// The same without some files of the staged folder, which go when the output is safe.
///
/// # Errors
/// As [`commit`].
pub fn commit_without(ui: &Ui, output: Staged, draft: Draft, without: &[PathBuf]) -> Result<()> {
    ui.receipt(&output.commit_without(draft, without)?);
    Ok(())
}
