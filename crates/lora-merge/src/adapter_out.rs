//! `--to-adapter`: the combined adapter as a folder that PEFT loads.
use crate::inputs::{self, Adapters};
use crate::{Args, combine};
use lora_checkpoint::Chat;
use lora_cli::{Result, Ui, draft};
use lora_model::tokenizer_folder;
use lora_receipt::{Artefact, Draft, Staged};
use serde_json::Value;

/// Combines and writes; no base is needed, since the adapters' own files say what they are for.
pub(crate) fn run(args: &Args, output: Staged, ui: &Ui) -> Result<()> {
    let Adapters {
        loaded,
        modules,
        base,
        hashed,
    } = inputs::open_adapters(args, ui)?;
    for adapter in &loaded {
        inputs::refuse_left_behind(base.as_ref(), adapter)?;
    }
    let (adapter, combined) = combine::adapters(args, loaded, &modules, ui)?;
    adapter.save(output.path())?;
    let served = inputs::served(args, base.as_ref(), ui)?;
    if let Some(folder) = served.adapter.as_deref().and_then(tokenizer_folder) {
        Chat::copy_with_tokenizer(folder, output.path())?;
    }
    let mut results = serde_json::json!({"chat": served.result()});
    if let (Some(results), Value::Object(combined)) = (results.as_object_mut(), combined) {
        results.extend(combined);
    }
    let draft = Draft {
        results,
        ..draft::<Args>(ui, args, Artefact::Adapter, hashed)?
    };
    lora_cli::commit(ui, output, draft)
}
