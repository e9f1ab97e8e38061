//! From a record to ids and labels: rendering, tokenising without added special tokens, and the mask of what is learned.
//! How chats are written is in `chat`.
use crate::conversation::Learn;
use crate::messages::{content, role, turn};
use crate::note::Note;
use crate::record::{Content, Record};
use crate::refusal::Refusal;
use crate::special::{SpecialInText, Specials, unescaped};
use crate::template::{ChatTemplate, hex};
use crate::tokens::Tokenize;
use crate::{Conversation, Error, Example, IGNORE};
use lora_checkpoint::{Chat, TokenizerBundle};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// What is learned of rows, and how they are changed to fit a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// System text that is put before chats that have none.
    pub system: Option<String>,
    /// Which messages of a chat are learned.
    pub learn: Learn,
    /// What is done with control tokens inside messages.
    pub special_in_text: SpecialInText,
    /// Put the system text at the start of the first message of the user.
    pub system_into_user: bool,
    /// Chats that offer tools are written by another template of the model (`tool_use`), and refused here.
    pub tools_elsewhere: bool,
}

/// Turns records into examples, for one model.
#[derive(Debug)]
pub struct Encoder {
    pub(crate) tokens: Arc<Tokenize>,
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) specials: Arc<Specials>,
    pub(crate) rules: Rules,
    /// Shapes of chats of which the template is known to write every part, or not to show it.
    pub(crate) shapes: Mutex<HashMap<String, bool>>,
    /// The control token that the template writes behind an answer.
    pub(crate) turn_end: Option<String>,
    /// What the tokenizer puts before a text by itself (BOS, mostly), for text that no template renders.
    prefix: Vec<u32>,
    /// Id and text that end a completion that no template renders.
    end: Option<(u32, String)>,
}

/// A row, and what was done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The row.
    pub example: Example,
    /// What was done to it, each once.
    pub notes: Vec<Note>,
    /// Keys of its messages that the template has no word of.
    pub unread: Vec<String>,
}

/// The text of a row and the parts of it that are learned, in bytes.
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) learned: Vec<Range<usize>>,
}

impl Encoder {
    /// An encoder with the model's own template (`None`: prompt and completion are joined as they are, and the
    /// end-of-text token follows). `system` is put before chats that have no system message.
    pub fn new(
        bundle: &TokenizerBundle,
        template: Option<ChatTemplate>,
        system: Option<String>,
    ) -> Result<Self, Error> {
        let rules = Rules {
            system,
            ..Rules::default()
        };
        Self::with_rules(bundle, template, rules)
    }

    /// The same with rules of what is learned and changed.
    pub fn with_rules(
        bundle: &TokenizerBundle,
        template: Option<ChatTemplate>,
        rules: Rules,
    ) -> Result<Self, Error> {
        let mut tokenizer = bundle.tokenizer.clone();
        // Files may ask for padding or truncation, which would put ids into rows or take some away.
        tokenizer.with_padding(None);
        let failed =
            |error: tokenizers::Error| Error::invalid("tokenizer".as_ref(), error.to_string());
        tokenizer.with_truncation(None).map_err(failed)?;
        // What a template writes itself ends or begins turns.
        let writes = |token: &&String| {
            template
                .as_ref()
                .is_some_and(|template| template.source().contains(token.as_str()))
        };
        let in_texts = bundle.added_tokens.iter().filter(|token| !writes(token));
        let in_texts: Vec<String> = in_texts.cloned().collect();
        let specials = Specials::of(&tokenizer, &in_texts);
        let end = bundle
            .eos_token
            .as_ref()
            .and_then(|eos| Some((tokenizer.token_to_id(eos)?, eos.clone())));
        let turn_end = template
            .as_ref()
            .and_then(|template| turn_end(template, &specials));
        Ok(Self {
            tokens: Arc::new(Tokenize::new(tokenizer)),
            template,
            specials: Arc::new(specials),
            rules,
            shapes: Mutex::default(),
            turn_end,
            prefix: bundle.prefix(),
            end,
        })
    }

    /// The same encoder before its first row: tokenizer and template are shared, what rows have taught it is not. So what
    /// becomes of a stretch of rows does not depend on who encodes the others, and when.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            template: self.template.as_ref().map(ChatTemplate::afresh),
            specials: self.specials.clone(),
            rules: self.rules.clone(),
            shapes: Mutex::default(),
            turn_end: self.turn_end.clone(),
            prefix: self.prefix.clone(),
            end: self.end.clone(),
        }
    }

    /// sha256 of the template's source, if one is used.
    pub fn template_sha256(&self) -> Option<&str> {
        self.template.as_ref().map(ChatTemplate::sha256)
    }

    /// The template's source, if one is used.
    pub fn template(&self) -> Option<&str> {
        self.template.as_ref().map(ChatTemplate::source)
    }

    /// Renderings of the template that took too much: from [`ChatTemplate::EXCESSES`] on it renders nothing any more.
    pub fn template_excesses(&self) -> usize {
        self.template.as_ref().map_or(0, ChatTemplate::excesses)
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
            Content::Chat(chat) => chat
                .messages
                .first()
                .filter(|first| role(first) == "system")
                .map(content),
            Content::Pair { system, .. } => system.as_deref(),
        };
        Some(own.or(self.rules.system.as_deref()))
    }

    /// What a row gives its template beside messages and tools; None for a text without roles.
    pub fn arguments_of(record: &Record) -> Option<Map<String, Value>> {
        match &record.content {
            Content::Text(_) => None,
            Content::Chat(chat) => Some(chat.arguments.clone()),
            Content::Pair { .. } => Some(Map::new()),
        }
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
            .is_some_and(|id| self.specials.contains(*id))
    }

    /// Encodes one record.
    pub fn encode(&self, record: &Record) -> Result<Example, Refusal> {
        Ok(self.encode_noted(record)?.example)
    }

    /// Encodes one record, and says what was done to it.
    pub fn encode_noted(&self, record: &Record) -> Result<Encoded, Refusal> {
        let mut notes = Vec::new();
        let mut unread = Vec::new();
        let example = match &record.content {
            Content::Text(text) => self.text(record, text, &mut notes)?,
            Content::Chat(chat) => {
                if let Some(template) = &self.template {
                    unread = crate::trace::unread(chat, template);
                }
                self.chat(record, chat, &mut notes)?
            }
            Content::Pair {
                system,
                prompt,
                completion,
            } => match &self.template {
                None => {
                    let system = system.as_deref().or(self.rules.system.as_deref());
                    self.plain(record, &join(system, prompt), completion, &mut notes)?
                }
                Some(_) if prompt.trim().is_empty() => return Err(Refusal::EmptyPrompt),
                Some(_) => {
                    let mut messages = Vec::new();
                    messages.extend(system.as_deref().map(|text| turn("system", text)));
                    messages.push(turn("user", prompt));
                    messages.push(turn("assistant", completion));
                    let chat = Conversation::of_completion(messages);
                    self.chat(record, &chat, &mut notes)?
                }
            },
        };
        if example.supervised() == 0 {
            return Err(Refusal::NothingSupervised);
        }
        Ok(Encoded {
            example,
            notes,
            unread,
        })
    }

    /// Ids of a text that no template renders, with the end-of-text id if the text brings none: for text that is packed
    /// into blocks.
    pub fn text_ids(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        let (text, end) = self.ended(text);
        let mut ids = self.with_prefix(self.tokens.ids(text)?);
        ids.extend(end.map(|(id, _)| *id));
        Ok(ids)
    }

    /// The text of ids, special tokens included.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Refusal> {
        self.tokens.decode(ids)
    }

    /// A text and the end token that it needs; one that it brings is its last word.
    fn ended<'t>(&self, text: &'t str) -> (&'t str, Option<&(u32, String)>) {
        let trimmed = text.trim_end();
        match &self.end {
            Some((_, end)) if trimmed.ends_with(end.as_str()) => (trimmed, None),
            end => (text, end.as_ref()),
        }
    }

    /// Puts what the tokenizer begins texts with before ids, unless the text brought it.
    pub(crate) fn with_prefix(&self, mut ids: Vec<u32>) -> Vec<u32> {
        if !ids.starts_with(&self.prefix) {
            ids.splice(..0, self.prefix.iter().copied());
        }
        ids
    }

    /// Notes of a text that no template writes: its control tokens are its own.
    fn note_own_tokens(&self, text: &str, notes: &mut Vec<Note>) {
        let (before, end) = self.ended(text);
        let own = self.end_token().filter(|_| end.is_none());
        notes.extend(own.map(|token| Note::OwnEnd(token.to_owned())));
        let before = own
            .and_then(|own| before.strip_suffix(own))
            .unwrap_or(before);
        let inside = self.specials.first_in(before);
        notes.extend(inside.map(|token| Note::ControlKept(token.to_owned())));
    }

    fn text(&self, record: &Record, text: &str, notes: &mut Vec<Note>) -> Result<Example, Refusal> {
        self.note_own_tokens(text, notes);
        let input_ids = self.text_ids(text)?;
        let (text, end) = self.ended(text);
        let completion = format!("{text}{}", end.map_or("", |(_, end)| end));
        Ok(example(record, input_ids, 0, String::new(), completion))
    }

    /// Prompt and completion without a template.
    pub(crate) fn plain(
        &self,
        record: &Record,
        prompt: &str,
        completion: &str,
        notes: &mut Vec<Note>,
    ) -> Result<Example, Refusal> {
        self.note_own_tokens(completion, notes);
        let (completion, end) = self.ended(completion);
        if end.is_none() && self.end_token() == Some(completion.trim()) {
            return Err(Refusal::EmptyCompletion);
        }
        let whole = format!("{prompt}{completion}");
        let made = self.tokens.with_borders(&whole, &[prompt.len()])?;
        notes.extend(made.apart.then_some(Note::Apart));
        let length = made.ids.len();
        let mut input_ids = self.with_prefix(made.ids);
        let start = made.borders[0] + (input_ids.len() - length);
        input_ids.extend(end.map(|(id, _)| *id));
        let completion = format!("{completion}{}", end.map_or("", |(_, end)| end));
        Ok(example(
            record,
            input_ids,
            start,
            prompt.to_owned(),
            completion,
        ))
    }
}

/// The control token that a template writes behind an answer.
fn turn_end(template: &ChatTemplate, specials: &Specials) -> Option<String> {
    const ANSWER: &str = "an answer to look for";
    let messages = [turn("user", "a question"), turn("assistant", ANSWER)];
    let text = template.render(&messages, None, false).ok()?;
    let (_, behind) = text.rsplit_once(ANSWER)?;
    specials.beginning(behind.trim_start()).map(str::to_owned)
}

/// A system text and what is asked, where no template joins them.
pub(crate) fn join(system: Option<&str>, prompt: &str) -> String {
    system.map_or_else(
        || prompt.to_owned(),
        |system| format!("{system}\n\n{prompt}"),
    )
}

/// The row, supervised from `start` on. A row without a prompt is a group of its own text.
pub(crate) fn example(
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
    let (prompt, completion) = (unescaped(&prompt), unescaped(&completion));
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
