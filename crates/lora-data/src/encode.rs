//! From a record to ids and labels: rendering, tokenising without added special tokens, and the completion-only mask.
use crate::record::{Content, Record, content};
use crate::refusal::Refusal;
use crate::template::{ChatTemplate, Message, hex};
use crate::{Error, Example, IGNORE};
use lora_checkpoint::{Chat, TokenizerBundle};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use tokenizers::Tokenizer;

/// Turns records into examples, for one model.
#[derive(Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// BOS, if the tokenizer puts it before a text by itself, for text that no template renders.
    prefix: Option<u32>,
    /// Id and text that end a completion that no template renders.
    end: Option<(u32, String)>,
    special: HashSet<u32>,
    system: Option<String>,
}

impl Encoder {
    /// An encoder with the model's own template (`None`: prompt and completion are joined as they are, and the
    /// end-of-text token follows). `system` is put before chats that have no system message.
    pub fn new(
        bundle: &TokenizerBundle,
        template: Option<ChatTemplate>,
        system: Option<String>,
    ) -> Result<Self, Error> {
        let mut tokenizer = bundle.tokenizer.clone();
        // Files may ask for padding or truncation, which would put ids into rows or take some away.
        tokenizer.with_padding(None);
        let failed =
            |error: tokenizers::Error| Error::invalid("tokenizer".as_ref(), error.to_string());
        tokenizer.with_truncation(None).map_err(failed)?;
        let special = tokenizer
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| id)
            .collect();
        let bos = bundle.bos_token.as_ref().filter(|_| bundle.add_bos_token);
        let prefix = bos.and_then(|bos| tokenizer.token_to_id(bos));
        let end = bundle
            .eos_token
            .as_ref()
            .and_then(|eos| Some((tokenizer.token_to_id(eos)?, eos.clone())));
        Ok(Self {
            tokenizer,
            template,
            prefix,
            end,
            special,
            system,
        })
    }

    /// sha256 of the template's source, if one is used.
    pub fn template_sha256(&self) -> Option<&str> {
        self.template.as_ref().map(ChatTemplate::sha256)
    }

    /// Template and system text, as they go with a dataset; `system` is what the rows really have.
    pub fn chat_with(&self, system: Option<String>) -> Chat {
        Chat {
            template: self.template.as_ref().map(|t| t.source().to_owned()),
            system,
        }
    }

    /// The system text that a row is written with; None for a text without roles.
    pub fn system_of<'a>(&'a self, record: &'a Record) -> Option<Option<&'a str>> {
        let own = match &record.content {
            Content::Text(_) => return None,
            Content::Chat { messages, .. } => messages
                .first()
                .filter(|first| crate::record::role(first) == "system")
                .map(content),
            Content::Pair { system, .. } => system.as_deref(),
        };
        Some(own.or(self.system.as_deref()))
    }

    /// The text that ends a completion without a template, if the model has an end-of-text token.
    pub fn end_token(&self) -> Option<&str> {
        self.end.as_ref().map(|(_, text)| text.as_str())
    }

    /// True if a special token of the tokenizer ends this example: without one a model never learns to stop.
    pub fn ends_turn(&self, example: &Example) -> bool {
        example
            .input_ids
            .last()
            .is_some_and(|id| self.special.contains(id))
    }

    /// Encodes one record.
    pub fn encode(&self, record: &Record) -> Result<Example, Refusal> {
        let example = match &record.content {
            Content::Text(text) => self.text(record, text)?,
            Content::Chat {
                messages,
                prompt,
                tools,
            } => self.chat(record, messages, *prompt, tools.as_ref())?,
            Content::Pair {
                system,
                prompt,
                completion,
            } => match &self.template {
                None => self.plain(
                    record,
                    &join(system.as_deref().or(self.system.as_deref()), prompt),
                    completion,
                )?,
                Some(_) if prompt.trim().is_empty() => return Err(Refusal::EmptyPrompt),
                Some(_) => {
                    let mut messages = Vec::new();
                    messages.extend(system.as_deref().map(|text| turn("system", text)));
                    messages.push(turn("user", prompt));
                    messages.push(turn("assistant", completion));
                    self.chat(record, &messages, messages.len() - 1, None)?
                }
            },
        };
        if example.supervised() == 0 {
            return Err(Refusal::NothingSupervised);
        }
        Ok(example)
    }

    /// Ids of a chat up to where the next answer starts, written as the prompts of rows are.
    ///
    /// # Errors
    /// When the template refuses the chat, or when there is none and the chat is more than one question.
    pub fn prompt(&self, messages: &[Message], tools: Option<&Value>) -> Result<Vec<u32>, Refusal> {
        if let Some(template) = &self.template {
            let text = template
                .render(messages, tools, true)
                .map_err(Refusal::Template)?;
            return self.ids(&text);
        }
        let text = match messages {
            [user] => content(user).to_owned(),
            [system, user] if crate::record::role(system) == "system" => {
                join(Some(content(system)), content(user))
            }
            _ => {
                let why = "the model has none; give one with --template".into();
                return Err(Refusal::Template(why));
            }
        };
        Ok(self.with_prefix(self.ids(&text)?))
    }

    /// Ids of a text that no template renders, with the end-of-text id: for text that is packed into blocks.
    pub fn text_ids(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        let mut ids = self.with_prefix(self.ids(text)?);
        ids.extend(self.end.as_ref().map(|(id, _)| *id));
        Ok(ids)
    }

    /// The text of ids, special tokens included.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Refusal> {
        self.tokenizer
            .decode(ids, false)
            .map_err(|error| Refusal::Tokenizer(error.to_string()))
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| Refusal::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Puts the tokenizer's own BOS before ids, unless the text brought one.
    fn with_prefix(&self, mut ids: Vec<u32>) -> Vec<u32> {
        if let Some(bos) = self.prefix.filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        ids
    }

    fn text(&self, record: &Record, text: &str) -> Result<Example, Refusal> {
        let input_ids = self.text_ids(text)?;
        let completion = format!("{text}{}", self.end_token().unwrap_or_default());
        Ok(example(record, input_ids, 0, String::new(), completion))
    }

    fn plain(&self, record: &Record, prompt: &str, completion: &str) -> Result<Example, Refusal> {
        let before = self.ids(prompt)?;
        let whole = self.ids(&format!("{prompt}{completion}"))?;
        if !whole.starts_with(&before) {
            return Err(Refusal::SharedToken);
        }
        let whole_length = whole.len();
        let mut input_ids = self.with_prefix(whole);
        let start = before.len() + usize::from(input_ids.len() > whole_length);
        input_ids.extend(self.end.as_ref().map(|(id, _)| *id));
        let completion = format!("{completion}{}", self.end_token().unwrap_or_default());
        Ok(example(
            record,
            input_ids,
            start,
            prompt.to_owned(),
            completion,
        ))
    }

    fn chat(
        &self,
        record: &Record,
        messages: &[Message],
        prompt: usize,
        tools: Option<&Value>,
    ) -> Result<Example, Refusal> {
        let Some(template) = &self.template else {
            return self.chat_without_template(record, messages, prompt);
        };
        let system = self
            .system
            .as_deref()
            .filter(|_| crate::record::role(&messages[0]) != "system");
        let messages: Vec<Message> = system
            .map(|text| turn("system", text))
            .into_iter()
            .chain(messages.iter().cloned())
            .collect();
        let prompt = prompt + usize::from(system.is_some());
        let before = template
            .render(&messages[..prompt], tools, true)
            .map_err(Refusal::Template)?;
        let whole = template
            .render(&messages, tools, false)
            .map_err(Refusal::Template)?;
        let Some(completion) = whole.strip_prefix(before.as_str()) else {
            return Err(Refusal::PromptRewritten);
        };
        let (prompt_ids, mut input_ids) = (self.ids(&before)?, self.ids(&whole)?);
        if !input_ids.starts_with(&prompt_ids) {
            return Err(Refusal::SharedToken);
        }
        let (ids, bytes) = self.end_of_turn(&input_ids[prompt_ids.len()..], completion);
        input_ids.truncate(prompt_ids.len() + ids);
        let completion = completion[..bytes].to_owned();
        Ok(example(
            record,
            input_ids,
            prompt_ids.len(),
            before,
            completion,
        ))
    }

    /// Where the answer's turn ends, in ids and in bytes: after the last special token, if only white space follows it.
    /// Templates often write a newline there; a generation never reaches it, so it is no part of the row.
    fn end_of_turn(&self, ids: &[u32], text: &str) -> (usize, usize) {
        let whole = (ids.len(), text.len());
        let Some(last) = ids.iter().rposition(|id| self.special.contains(id)) else {
            return whole;
        };
        let Some(token) = self.tokenizer.id_to_token(ids[last]) else {
            return whole;
        };
        match text.rfind(&token).map(|at| at + token.len()) {
            Some(end) if text[end..].trim().is_empty() => (last + 1, end),
            _ => whole,
        }
    }

    /// A chat for a model that has no template: only one question and one answer can be written without one.
    fn chat_without_template(
        &self,
        record: &Record,
        messages: &[Message],
        prompt: usize,
    ) -> Result<Example, Refusal> {
        if messages.len() != prompt + 1 {
            return Err(Refusal::Template(
                "the model has none; give one with --template".into(),
            ));
        }
        match &messages[..prompt] {
            [user] => self.plain(
                record,
                &join(self.system.as_deref(), content(user)),
                content(&messages[prompt]),
            ),
            [system, user] if crate::record::role(system) == "system" => self.plain(
                record,
                &join(Some(content(system)), content(user)),
                content(&messages[prompt]),
            ),
            _ => Err(Refusal::Template(
                "the model has none; give one with --template".into(),
            )),
        }
    }
}

fn join(system: Option<&str>, prompt: &str) -> String {
    system.map_or_else(
        || prompt.to_owned(),
        |system| format!("{system}\n\n{prompt}"),
    )
}

fn turn(role: &str, content: &str) -> Message {
    let mut message = Message::new();
    message.insert("role".to_owned(), json!(role));
    message.insert("content".to_owned(), json!(content));
    message
}

/// The row, supervised from `start` on. A row without a prompt is a group of its own text.
fn example(
    record: &Record,
    input_ids: Vec<u32>,
    start: usize,
    prompt: String,
    completion: String,
) -> Example {
    let labels = input_ids
        .iter()
        .enumerate()
        .map(|(at, id)| if at < start { IGNORE } else { id.cast_signed() })
        .collect();
    let group = hex(&Sha256::digest(if prompt.is_empty() {
        &completion
    } else {
        &prompt
    }));
    Example {
        input_ids,
        labels,
        id: record.id.clone(),
        group,
        prompt,
        completion,
    }
}
