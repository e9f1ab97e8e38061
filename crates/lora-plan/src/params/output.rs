//! A plan as a file.
use super::args::ParamsArgs;
use super::count::Params;
use crate::model::shape::Shape;
use lora_cli::{Context, Foreign as _, Result, Ui, draft};
use lora_receipt::{Artefact, Draft, Input, Staged};
use serde_json::json;
use std::path::Path;

/// Writes it as one JSON file with a receipt beside it.
pub(crate) fn write(
    params: &Params,
    args: &ParamsArgs,
    shape: &Shape,
    out: &Path,
    ui: &Ui,
) -> Result<()> {
    let staged = Staged::file(out, args.force)?;
    let text = serde_json::to_string_pretty(params).foreign()?;
    std::fs::write(staged.path(), text + "\n")
        .foreign()
        .context(|| format!("failed to write {}", out.display()))?;
    let inputs = shape
        .path
        .iter()
        .map(|path| Input::read("model", path))
        .collect::<Result<_, _>>()?;
    let draft = Draft {
        results: json!({ "trainable": params.count.trainable, "all": params.count.all }),
        ..draft::<crate::Args>(ui, args, Artefact::Plan, inputs)?
    };
    lora_cli::commit(ui, staged, draft)
}
