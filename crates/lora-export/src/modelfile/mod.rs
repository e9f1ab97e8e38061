//! An Ollama Modelfile beside an exported GGUF: the model, its chat template in Go's language, its stop texts.
//!
//! The template is inferred from the model's own Jinja template (`infer`), written for Go (`write`), and both are rendered (`go`) on
//! chats that were not used for inferring; if a single character differs, there is no Modelfile. What the model's template
//! does beyond turns and thoughts (`thinking`) is said (`beyond`).
mod beyond;
mod exact;
mod go;
mod infer;
mod plain;
mod thinking;
mod write;

use crate::inputs::Source;
use crate::output::Output;
use exact::checked;
use infer::Turns;
use lora_checkpoint::{Chat, Checkpoint, TokenizerBundle, shown};
use lora_cli::Foreign as _;
use lora_cli::{Context, Error, Result, Ui};
use lora_data::ChatTemplate;
use lora_model::Served;

/// What Ollama needs to know of a model's chats.
#[derive(Debug)]
pub(crate) struct Translated {
    template: String,
    /// The system message of chats that bring none.
    system: Option<String>,
    stop: Vec<String>,
    /// One line each: what the template does and Ollama's can't.
    notes: Vec<String>,
}

/// Translates the chats that a model, or an adapter on it, is served with.
pub(crate) fn translate(model: &Checkpoint, served: &Served) -> Result<Translated> {
    let tokenizer = model.tokenizer()?;
    let Chat {
        template: source,
        system,
    } = &served.chat;
    let source = source.as_deref().ok_or_else(|| {
        let whose = served.adapter.as_deref().unwrap_or(model.path());
        Error::new(format!(
            "{} has no chat template, so there is nothing to write a Modelfile from",
            whose.display()
        ))
        .hint("export without --modelfile")
    })?;
    if let Some(text) = system {
        refuse_unwritable(text)?;
    }
    let (bos, eos) = (
        tokenizer.bos_token.as_deref(),
        tokenizer.eos_token.as_deref(),
    );
    let template = ChatTemplate::new(source, bos, eos).map_err(Error::new)?;
    let added = bos
        .filter(|_| tokenizer.begins_with_bos())
        .unwrap_or_default();
    let checked = checked(&template, added).map_err(untranslatable)?;
    Ok(Translated {
        stop: stop_texts(&tokenizer, model, &checked.turns),
        template: checked.written,
        system: system.clone(),
        notes: checked.notes,
    })
}

/// A Modelfile has no escapes for the system text.
fn refuse_unwritable(system: &str) -> Result<()> {
    let dropped = system.chars().find(|&c| !plain::is_kept(c));
    let why = match dropped {
        Some(c) => format!("Ollama's reader drops {c:?}"),
        None if system.contains("\"\"\"") => "three quotation marks stand in it".to_owned(),
        None => return Ok(()),
    };
    Err(Error::new(format!(
        "a Modelfile can't hold the system text {}: {why}",
        shown(system)
    ))
    .hint("export without --modelfile, or train with a system text without it"))
}

/// Writes the Modelfile beside the GGUF file. An adapter's base is named by its full path, for Ollama to import.
pub(crate) fn write(chat: &Translated, source: &Source, output: &Output, ui: &Ui) -> Result<()> {
    let (from, adapter) = match source {
        Source::Model(_) => ("./model.gguf".to_owned(), None),
        Source::Adapter(base, _) => {
            let path = base.checkpoint().path();
            (
                path.canonicalize()
                    .unwrap_or_else(|_| path.to_owned())
                    .display()
                    .to_string(),
                Some("./adapter.gguf"),
            )
        }
    };
    let path = output.path.with_file_name("Modelfile");
    std::fs::write(&path, text(chat, &from, adapter))
        .foreign()
        .context(|| format!("failed to write {}", path.display()))?;
    chat.notes.iter().for_each(|note| ui.say(note));
    Ok(())
}

fn text(chat: &Translated, from: &str, adapter: Option<&str>) -> String {
    let mut text = format!("FROM {from}\n");
    if let Some(adapter) = adapter {
        text += &format!("ADAPTER {adapter}\n");
    }
    text += &format!("TEMPLATE \"\"\"{}\"\"\"\n", chat.template);
    if let Some(system) = &chat.system {
        text += &format!("SYSTEM \"\"\"{system}\"\"\"\n");
    }
    for stop in &chat.stop {
        text += &format!("PARAMETER stop \"{stop}\"\n");
    }
    text
}

fn untranslatable(reason: String) -> Error {
    Error::new(format!("the chat template can't be translated for Ollama exactly: {reason}"))
        .hint("export without --modelfile, and write a Modelfile by hand: https://docs.ollama.com/template")
}

/// The model's end tokens, and the special token that closes an answer in the template.
fn stop_texts(tokenizer: &TokenizerBundle, model: &Checkpoint, turns: &Turns) -> Vec<String> {
    let ids = model
        .config()
        .eos_token_ids
        .iter()
        .filter_map(|&id| tokenizer.tokenizer.id_to_token(id));
    let mut texts: Vec<String> = ids.chain(tokenizer.eos_token.clone()).collect();
    let added = tokenizer.tokenizer.get_added_tokens_decoder();
    let first = tokenizer
        .tokenizer
        .encode(turns.answer_question.trim_start(), false)
        .ok();
    let first = first.and_then(|encoded| encoded.get_ids().first().copied());
    texts.extend(
        first
            .and_then(|id| added.get(&id))
            .filter(|token| token.special)
            .map(|token| token.content.clone()),
    );
    texts.sort();
    texts.dedup();
    texts.retain(|text| !text.is_empty() && !text.contains(['"', '\n']));
    texts
}
