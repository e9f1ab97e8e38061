//! How the rows' chats are written goes with what was trained on them: tokenizer files, chat template and system text.
use crate::args::Args;
use crate::choices::Method;
use crate::data::Rows;
use crate::inputs::Inputs;
use lora_checkpoint::ModelConfig;
use lora_cli::{Result, Ui};
use lora_model::{chat_result, trained_chat, trained_otherwise};
use std::path::Path;

/// Says where the rows are written in another way than the base's chats, or than those of the adapter to start from.
pub(crate) fn say(args: &Args, inputs: &Inputs, rows: &Rows, ui: &Ui) -> Result<()> {
    let own = inputs.chat(&args.base)?;
    let Some(chat) = &rows.chat else {
        if own.template.is_some() {
            ui.say(&format!(
                "the data does not say how its chats are written: what is trained is served with the base's {}",
                own.describe()
            ));
        }
        return Ok(());
    };
    if !chat.is_like(&own) {
        ui.say(&format!(
            "the rows are written with {}, and the base has {}: the rows' goes with what is trained",
            chat.describe(),
            own.describe()
        ));
    }
    if let Some(adapter) = &args.adapter
        && let Some(trained) = trained_chat(adapter)?
        && let Some(otherwise) = trained_otherwise(adapter, &trained, chat)
    {
        ui.warn(&otherwise);
    }
    Ok(())
}

/// Writes the base's tokenizer, with the rows' chats, into an adapter's folder, as TRL does. (A model's folder has it from
/// the trainer.)
pub(crate) fn write(args: &Args, inputs: &Inputs, rows: &Rows, dir: &Path) -> Result<()> {
    let Some(chat) = rows.chat.as_ref().filter(|_| args.method == Method::Lora) else {
        return Ok(());
    };
    let tokenizer = inputs.tokenizer(&args.base)?;
    tokenizer
        .with_chat_template(chat.template.clone())
        .write(dir)?;
    Ok(chat.write(dir)?)
}

/// The token with which rows end answers, if the model does not stop at it; says so. None if nothing is known of the rows.
pub(crate) fn end(
    args: &Args,
    inputs: &Inputs,
    rows: &Rows,
    model: &ModelConfig,
    ui: &Ui,
) -> Option<u32> {
    let bundle = inputs.tokenizer(&args.base).ok()?;
    let end = lora_data::end_beyond_model(model, &bundle, rows.chat.as_ref()?)?;
    let token = bundle.tokenizer.id_to_token(end).unwrap_or_default();
    ui.say(&format!(
        "the rows end answers with {token} ({end}), at which the base does not stop: what is trained does"
    ));
    Some(end)
}

/// For the receipt; null if nothing is known.
pub(crate) fn result(rows: &Rows) -> serde_json::Value {
    rows.chat
        .as_ref()
        .map_or(serde_json::Value::Null, |chat| chat_result(chat, "data"))
}
