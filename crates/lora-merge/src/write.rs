//! Merged weights into a folder or a GGUF file, and how far they moved.
use crate::Dtype;
use crate::inputs::{Inputs, unties};
use crate::weights::{Merger, Moved};
use lora_checkpoint::{Edit, SaveDtype, TensorView, rewrite_gguf, save_folder, weights_in_blocks};
use lora_cli::{Error, Result, Ui};
use lora_core::Adapter;
use std::path::Path;

/// Writes the base's GGUF file again, with the adapted weights in it.
pub(crate) fn gguf(path: &Path, inputs: &Inputs, ui: &Ui) -> Result<Moved> {
    let mut target = inputs.base.checkpoint().reopened()?;
    let own = target.chat()?;
    if inputs.served.adapter.is_some() && inputs.served.chat != own {
        target = target.with_chat(inputs.served.chat.clone());
    }
    if let Some(end) = inputs.end {
        target = target.ending_at(end);
    }
    let merger = Merger::new(&inputs.base, &inputs.adapter, inputs.dtype)?;
    let progress = ui.progress("merge", merger.values(&target)?, "weights");
    let mut rewrite = Rewrite {
        merger,
        count: |values| {
            progress.inc(values);
            ui.check_interrupt()
        },
    };
    rewrite_gguf::<Error>(path, &target, &mut rewrite)?;
    Ok(rewrite.merger.moved)
}

/// A merge into the file of the base.
struct Rewrite<'a, F> {
    merger: Merger<'a>,
    /// Is told of values that are merged.
    count: F,
}

impl<F: FnMut(u64) -> Result<()>> Edit<Error> for Rewrite<'_, F> {
    fn changes(&self, name: &str) -> bool {
        self.merger.changes(name)
    }

    fn edit(&mut self, view: &TensorView<'_>, first: usize, rows: &mut [f32]) -> Result<()> {
        (self.count)(rows.len() as u64)?;
        self.merger.merge(view.name(), first, rows)
    }

    fn wrote(&mut self, rows: &[f32]) {
        self.merger.count_stored(rows);
    }
}

/// Writes the merged model into an existing folder, tensor by tensor, some rows at a time.
pub(crate) fn folder(dir: &Path, inputs: &Inputs, ui: &Ui) -> Result<Moved> {
    let checkpoint = inputs.base.checkpoint();
    let progress = ui.progress("merge", inputs.base.total_parameters(), "weights");
    let mut merger = Merger::new(&inputs.base, &inputs.adapter, inputs.dtype)?;
    let mut target = checkpoint.reopened()?;
    if unties(&inputs.base, &inputs.adapter) {
        ui.say("embedding and head of the base are one tensor; in the merged model they are two");
        target = target.untied();
    }
    if inputs.served.adapter.is_some() {
        target = target.with_chat(inputs.served.chat.clone());
    }
    if let Some(end) = inputs.end {
        target = target.ending_at(end);
    }
    let in_blocks = weights_in_blocks(&target)?;
    if in_blocks.iter().any(|name| merger.changes(name)) {
        ui.say(&format!(
            "experts of the base are in blocks of MXFP4, which can't hold what the adapter changes: all of them are written as {}",
            inputs.dtype
        ));
        target = target.widened();
    }
    let dtype = match inputs.dtype {
        Dtype::Bf16 => SaveDtype::BF16,
        Dtype::F16 => SaveDtype::F16,
        Dtype::F32 | Dtype::Base => SaveDtype::F32,
    };
    let saved = save_folder::<Error>(dir, &target, dtype, |view, first, rows| {
        ui.check_interrupt()?;
        merger.edit(view.name(), first, rows)?;
        progress.inc(rows.len() as u64);
        Ok(())
    })?;
    for warning in saved.warnings {
        ui.warn(&warning);
    }
    Ok(merger.moved)
}

/// Says how far the weights moved, and warns of a merge that changes nothing.
pub(crate) fn report(moved: &Moved, inputs: &Inputs, ui: &Ui) {
    let share = |part: u64| 100.0 * part as f64 / moved.values.max(1) as f64;
    let dtype = inputs.dtype;
    if moved.in_f32 == 0 {
        ui.warn(
            "the adapter is the identity: it changes no weight, so the merged model is the base",
        );
    } else if moved.rounded == 0 {
        ui.warn(&format!(
            "the adapter's change is too small for {dtype}: no weight moved; {}",
            dtype.keeps_more()
        ));
    } else {
        ui.say(&format!(
            "merged {} modules and {} whole tensors{} as {dtype}; {:.1} % of their weights moved",
            inputs.adapter.modules.len(),
            inputs.adapter.trained.len(),
            rows_merged(&inputs.adapter),
            share(moved.rounded)
        ));
    }
}

/// The rows of the vocabulary that were merged, as a part of the line.
fn rows_merged(adapter: &Adapter) -> String {
    match adapter.rows.iter().map(|own| own.rows.len()).sum::<usize>() {
        0 => String::new(),
        count => format!(" and {count} rows of the vocabulary"),
    }
}
