//! The output folder: merged weights, config, tokenizer files and the receipt.
use crate::Args;
use crate::check::Check;
use crate::inputs::Inputs;
use crate::weights::{MergedTensor, Moved};
use lora_cli::{Result, Ui};
use lora_receipt::{Artefact, Draft, Receipt, Staged};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Values that are merged at a time: 16 MiB of f32.
const CHUNK_VALUES: usize = 4 << 20;

/// Claims the output folder.
pub(crate) fn stage(args: &Args) -> Result<Staged> {
    Ok(Staged::folder(&args.out, args.force)?)
}

/// Writes the merged model into an existing folder, tensor by tensor, some rows at a time.
pub(crate) fn model(dir: &Path, inputs: &Inputs, ui: &Ui) -> Result<Moved> {
    let checkpoint = inputs.base.checkpoint();
    let names = checkpoint.tensor_names();
    let progress = ui.progress("merge", names.len() as u64, "tensors");
    let mut moved = Moved::default();
    let mut chunk = Vec::new();
    for name in &names {
        ui.check_interrupt()?;
        let view = checkpoint.tensor(name)?;
        let (rows, columns) = (view.rows(), view.columns());
        let mut tensor = MergedTensor::new(view, &inputs.adapter, inputs.dtype);
        let step = (CHUNK_VALUES / columns.max(1)).max(1);
        for first in (0..rows).step_by(step) {
            chunk.resize(step.min(rows - first) * columns, 0.0);
            tensor.read_rows(first, &mut chunk)?;
        }
        moved.add(tensor.moved);
        progress.inc(1);
    }
    let _ = dir;
    todo!()
}

/// Says how far the weights moved, and warns of a merge that changes nothing.
pub(crate) fn report(moved: &Moved, inputs: &Inputs, ui: &Ui) {
    let share = |part: u64| 100.0 * part as f64 / moved.values.max(1) as f64;
    let dtype = inputs.dtype;
    if moved.in_f32 == 0 {
        ui.warn("the adapter is the identity: s·B·A is zero everywhere, so the merged model is the base");
    } else if moved.rounded == 0 {
        ui.warn(&format!("the adapter's change is too small for {dtype}: no weight moved; --dtype f32 keeps it"));
    } else {
        ui.say(&format!(
            "merged {} of {} linear modules as {dtype}; {:.1} % of their weights moved",
            inputs.adapter.modules.len(),
            inputs.base.linear_modules().iter().filter(|module| !module.is_head).count(),
            share(moved.rounded)
        ));
    }
}

/// Writes the receipt and makes the folder final.
pub(crate) fn commit(
    output: Staged,
    args: &Args,
    inputs: Inputs,
    moved: &Moved,
    check: Option<&Check>,
    started: Instant,
) -> Result<Receipt> {
    let draft = Draft {
        tool: "lora-merge".to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        artefact: Artefact::Model,
        config: serde_json::to_value(args)?,
        seed: None,
        inputs: inputs.hashed,
        results: results(moved, check),
        started,
    };
    Ok(output.commit(draft)?)
}

fn results(moved: &Moved, check: Option<&Check>) -> Value {
    json!({
        "targeted_weights": moved.values,
        "moved_weights": moved.rounded,
        "check": check.map(Check::figures),
    })
}
