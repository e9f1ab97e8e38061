//! An adapter → a folder of PEFT or of mlx-lm.
use crate::model::size;
use crate::output::Output;
use crate::{Args, Format};
use lora_cli::{Result, Ui, human_bytes};
use lora_core::{Adapter, BaseModel};
use lora_model::{Base, Served};
use serde_json::{Value, json};

/// Writes the folder, and loads it again, strictly.
pub(crate) fn write(
    args: &Args,
    base: &Base,
    adapter: &Adapter,
    output: &Output,
    ui: &Ui,
) -> Result<Value> {
    let mut adapter = adapter.clone();
    if let (None, Some(path)) = (&adapter.config.base_model_name_or_path, &args.base) {
        adapter.config.base_model_name_or_path = Some(path.display().to_string());
    }
    match args.format {
        Format::Mlx => adapter.save_mlx(&output.path, &base.modules())?,
        _ => adapter.save(&output.path)?,
    }
    Adapter::load(&output.path, base)?;
    let (modules, bytes) = (adapter.modules.len(), size(&output.path)?);
    ui.say(&format!(
        "{modules} modules for {}, {}",
        args.format.name(),
        human_bytes(bytes)
    ));
    Ok(json!({"modules": modules, "format": args.format, "bytes": bytes}))
}

/// Writes the base's tokenizer with the chats of the adapter's rows, if the adapter's files say how these are written.
pub(crate) fn write_chat(base: &Base, served: &Served, output: &Output) -> Result<()> {
    if served.adapter.is_some() {
        let tokenizer = base.checkpoint().tokenizer()?;
        tokenizer
            .with_chat_template(served.chat.template.clone())
            .write(&output.path)?;
        served.chat.write(&output.path)?;
    }
    Ok(())
}
