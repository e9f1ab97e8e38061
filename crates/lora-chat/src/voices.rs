//! What can answer: the base and each adapter on it, with the way in which their chats are written.
use crate::Args;
use lora_checkpoint::{Chat, TokenizerBundle};
use lora_cli::{Error, Result, Ui};
use lora_core::Adapter;
use lora_data::{ChatTemplate, Encoder, Message};
use lora_model::{Base, TrainedOn, trained_chat};
use lora_receipt::{Input, name_among};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One that answers.
pub(crate) struct Voice {
    /// `base`, or the adapter's folder name.
    pub(crate) name: String,
    pub(crate) adapter: Option<Adapter>,
    /// Writes chats as it was trained on them.
    pub(crate) encoder: Encoder,
    /// System text for chats that bring none.
    pub(crate) system: Option<String>,
}

/// A chat that waits for its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Option<Value>,
}

impl Voice {
    /// The ids of a chat up to where the answer starts.
    pub(crate) fn prompt(&self, question: &Question) -> Result<Vec<u32>> {
        let first = question.messages.first();
        let has_system = first.is_some_and(|first| first.get("role") == Some(&"system".into()));
        let system = self.system.as_deref().filter(|_| !has_system);
        let system = system.map(|text| message("system", text));
        let chat = system.into_iter().chain(question.messages.iter().cloned());
        let messages: Vec<Message> = chat.collect();
        let ids = self
            .encoder
            .prompt(&messages, question.tools.as_ref())
            .map_err(|refusal| {
                let refusal = refusal.to_string();
                let hint = match refusal.contains("strftime_now") {
                    true => "the template writes today's date: --date 2026-11-27 says which one",
                    false => "the model's chat template can't write this chat",
                };
                Error::new(format!("{}: {refusal}", self.name)).hint(hint)
            })?;
        if ids.is_empty() {
            return Err(Error::new("the prompt is empty").hint("say something"));
        }
        Ok(ids)
    }
}

/// Why a chat has no ids.
pub(crate) enum NoPrompt {
    /// The template refuses it, or it is empty.
    Refused(Error),
    /// The template writes nothing of this part.
    LeftOut(&'static str),
}

impl Voice {
    /// The ids of a chat of which the template leaves nothing out.
    pub(crate) fn whole(&self, question: &Question) -> Result<Vec<u32>, NoPrompt> {
        let ids = self.prompt(question).map_err(NoPrompt::Refused)?;
        let is_same = |other: &Question| self.prompt(other).is_ok_and(|other| other == ids);
        if question.tools.is_some() {
            let without = Question {
                tools: None,
                ..question.clone()
            };
            if is_same(&without) {
                return Err(NoPrompt::LeftOut("tools"));
            }
        }
        let has_calls = |message: &Message| message.contains_key("tool_calls");
        if question.messages.iter().any(has_calls) {
            let mut without = question.clone();
            for message in &mut without.messages {
                message.shift_remove("tool_calls");
            }
            if is_same(&without) {
                return Err(NoPrompt::LeftOut("tool_calls"));
            }
        }
        Ok(ids)
    }

    /// Whether messages have a name of which the template writes nothing.
    pub(crate) fn leaves_out_names(&self, question: &Question) -> bool {
        let mut without = question.clone();
        let mut any = false;
        for message in &mut without.messages {
            any |= message.shift_remove("name").is_some();
        }
        any && self.prompt(&without).ok() == self.prompt(question).ok()
    }

    /// The same with what a person is told.
    pub(crate) fn whole_prompt(&self, question: &Question) -> Result<Vec<u32>> {
        self.whole(question).map_err(|no| match no {
            NoPrompt::Refused(error) => error,
            NoPrompt::LeftOut(what) => {
                let name = &self.name;
                Error::new(format!("the chat template of {name} writes no `{what}`"))
                    .hint("leave it out, or take a model whose template writes it")
            }
        })
    }
}

/// The base, then the adapters in the order of the command line.
pub(crate) fn open(args: &Args, base: &Base, ui: &Ui) -> Result<Vec<Voice>> {
    let bundle = base.checkpoint().tokenizer()?;
    let own = base.checkpoint().chat()?;
    if own.template.is_none() {
        ui.say("the base has no chat template: a prompt is continued as it is, and only one question fits a chat");
    }
    let mut voices = vec![voice("base".to_owned(), None, &bundle, own.clone(), args)?];
    if args.adapter.is_empty() {
        return Ok(voices);
    }
    let given = Input::read("base", &args.base)?;
    for path in &args.adapter {
        let (adapter, warnings) = Adapter::load(path, base)?;
        for warning in warnings {
            ui.warn(&warning);
        }
        let own_base = TrainedOn::of(path).beside(base, &given);
        args.other_base.check(ui, path, &given, own_base)?;
        let chat = trained_chat(path)?.unwrap_or_else(|| own.clone());
        let name = name_among(path, |name| voices.iter().any(|voice| voice.name == name));
        voices.push(voice(name, Some(adapter), &bundle, chat, args)?);
    }
    Ok(voices)
}

fn voice(
    name: String,
    adapter: Option<Adapter>,
    bundle: &TokenizerBundle,
    chat: Chat,
    args: &Args,
) -> Result<Voice> {
    let template = chat.template.map(|source| {
        ChatTemplate::new(
            &source,
            bundle.bos_token.as_deref(),
            bundle.eos_token.as_deref(),
        )
        .and_then(|template| match &args.date {
            Some(date) => template.with_date(date),
            None => Ok(template),
        })
    });
    let template = template.transpose().map_err(|fault| {
        Error::new(format!(
            "the chat template of {name} can't be used: {fault}"
        ))
        .hint("train with a template in plainer Jinja: lora-prep --template FILE")
    })?;
    let system = match &args.system {
        Some(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        None => chat.system,
    };
    Ok(Voice {
        name,
        adapter,
        encoder: Encoder::new(bundle, template, None)?,
        system,
    })
}

/// What ends an answer: the model's end ids, and the special token that ends a turn of each voice's chats.
pub(crate) fn stop_ids(base: &Base, voices: &[Voice]) -> Vec<u32> {
    let config = base.checkpoint().config();
    let mut stop: BTreeSet<u32> = config.eos_token_ids.iter().copied().collect();
    stop.extend(
        voices
            .iter()
            .filter_map(|voice| voice.encoder.end_of_answers()),
    );
    stop.into_iter().collect()
}

/// A message of a chat.
pub(crate) fn message(role: &str, text: &str) -> Message {
    let mut message = Message::new();
    message.insert("role".to_owned(), json!(role));
    message.insert("content".to_owned(), json!(text));
    message
}
