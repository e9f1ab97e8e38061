//! What of a chat its template leaves out: every message's text, calls, reasoning and the tools must leave a trace in what
//! is written, or a model would learn silence in their place.
use crate::Conversation;
use crate::messages::{calls, content, role};
use crate::reasoning;
use crate::refusal::Refusal;
use crate::template::{ChatTemplate, Message};
use serde_json::{Map, Value, json};

/// A text that is shorter may stand in a chat by accident.
const LONG: usize = 8;

/// Code points that no text has, around the number of a mark.
const MARK: [char; 2] = ['\u{FDD0}', '\u{FDD1}'];

/// A chat as it is rendered.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) template: &'a ChatTemplate,
    pub(crate) messages: &'a [Message],
    pub(crate) tools: Option<&'a Value>,
    pub(crate) arguments: &'a Map<String, Value>,
}

impl Written<'_> {
    fn render(&self, messages: &[Message], tools: Option<&Value>) -> Option<String> {
        self.template
            .render_with(messages, tools, self.arguments, false)
            .ok()
    }

    /// The parts of a chat that must leave a trace; the shape of a chat, in which a template treats all alike.
    pub(crate) fn shape(&self) -> String {
        let message = |message: &Message| {
            let reasons = reasoning::KEYS.iter().any(|key| message.contains_key(*key));
            let is_silent = content(message).trim().is_empty();
            let calls = calls(message).len();
            format!("{}{calls}{reasons}{is_silent} ", role(message))
        };
        let tools = self.tools.is_some();
        self.messages.iter().map(message).collect::<String>() + if tools { "tools" } else { "" }
    }

    /// True if a template writes marks that are put into all parts of a chat. Not to find them proves nothing: marks may
    /// be in the way.
    pub(crate) fn shows_marks(&self, is_learned: impl Fn(usize) -> bool) -> bool {
        let mut count = 0;
        let mut mark = || {
            count += 1;
            format!("{}{count}{}", MARK[0], MARK[1])
        };
        let mut messages = self.messages.to_vec();
        for (at, message) in messages.iter_mut().enumerate() {
            if !content(message).trim().is_empty() {
                let marked = format!("{}{}", content(message), mark());
                message.insert("content".to_owned(), json!(marked));
            }
            for key in reasoning::KEYS {
                if let Some(Value::String(text)) = message.get_mut(key).filter(|_| is_learned(at)) {
                    text.push_str(&mark());
                }
            }
            if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
                calls.iter_mut().for_each(|call| mark_call(call, &mut mark));
            }
        }
        let mut tools = self.tools.cloned();
        if let Some(Value::Array(tools)) = &mut tools {
            tools.iter_mut().for_each(|tool| mark_name(tool, &mut mark));
        }
        let Some(text) = self.render(&messages, tools.as_ref()) else {
            return false;
        };
        (1..=count).all(|n| text.contains(&format!("{}{n}{}", MARK[0], MARK[1])))
    }

    /// Refuses a chat of whose parts one left no trace in `text`. With `shape_is_shown` a template is known to write
    /// all parts of such a chat.
    pub(crate) fn check(
        &self,
        text: &str,
        shape_is_shown: bool,
        is_learned: impl Fn(usize) -> bool,
    ) -> Result<(), Refusal> {
        let mut from = 0;
        for (at, message) in self.messages.iter().enumerate() {
            let needle = needle(message);
            let found = text[from..].find(needle);
            from += found.map_or(0, |at| at + needle.len());
            let is_certain = found.is_some() && (needle.len() >= LONG || shape_is_shown);
            if !needle.is_empty()
                && !is_certain
                && self.says_the_same(text, at, |message| {
                    let changed = format!("{}x{}", MARK[0], MARK[1]);
                    message.insert("content".to_owned(), json!(changed));
                })
            {
                let who = role(message);
                return Err(Refusal::LeftOut(format!(
                    "the text of a message of role {who}"
                )));
            }
            if shape_is_shown {
                continue;
            }
            let thought = reasoning::KEYS
                .into_iter()
                .filter(|key| is_learned(at) && message.get(*key).is_some_and(|value| value != ""));
            let calls = (!calls(message).is_empty()).then_some("tool_calls");
            for key in thought.chain(calls) {
                // Reasoning goes by several names: it is gone when no name has it.
                let without = |message: &mut Message| {
                    let value = message.shift_remove(key);
                    message.retain(|name, held| {
                        !reasoning::KEYS.contains(&name.as_str()) || Some(&*held) != value.as_ref()
                    });
                };
                if self.says_the_same(text, at, without) {
                    return Err(Refusal::LeftOut(format!("'{key}'")));
                }
            }
        }
        let says_without_tools = || self.render(self.messages, None).is_some_and(|t| t == text);
        if self.tools.is_some() && !shape_is_shown && says_without_tools() {
            return Err(Refusal::LeftOut("'tools'".to_owned()));
        }
        Ok(())
    }

    /// True if a template writes the same without a part of a message.
    fn says_the_same(&self, text: &str, at: usize, change: impl FnOnce(&mut Message)) -> bool {
        let mut messages = self.messages.to_vec();
        change(&mut messages[at]);
        self.render(&messages, self.tools)
            .is_some_and(|other| other == text)
    }
}

/// What of a message's text stands in a chat: templates take white space off, and earlier reasoning.
fn needle(message: &Message) -> &str {
    let text = content(message);
    text.rsplit("</think>").next().unwrap_or(text).trim()
}

fn mark_call(call: &mut Value, mark: &mut impl FnMut() -> String) {
    mark_name(call, mark);
    let function = match call.get_mut("function") {
        Some(function) => function,
        None => call,
    };
    if let Some(Value::Object(arguments)) = function.get_mut("arguments") {
        arguments.insert("mark".to_owned(), json!(mark()));
    }
}

fn mark_name(tool: &mut Value, mark: &mut impl FnMut() -> String) {
    let function = match tool.get_mut("function") {
        Some(function) => function,
        None => tool,
    };
    if let Some(Value::String(name)) = function.get_mut("name") {
        name.push_str(&mark());
    }
}

/// Keys of a row's chat that its template has no word of: what they say is not written.
pub(crate) fn unread(conversation: &Conversation, template: &ChatTemplate) -> Vec<String> {
    // Ids link a call to its result and say nothing beside.
    const KNOWN: [&str; 5] = ["role", "content", "tool_calls", "tool_call_id", "id"];
    let of_arguments = conversation.arguments.keys();
    let of_arguments = of_arguments.map(|key| (key, format!("chat_template_kwargs.{key}")));
    let of_messages = conversation.messages.iter().flat_map(Map::keys);
    let of_messages = of_messages
        .filter(|key| !KNOWN.contains(&key.as_str()) && !reasoning::KEYS.contains(&key.as_str()))
        .map(|key| (key, format!("{key} (of messages)")));
    let mut unread: Vec<String> = of_arguments
        .chain(of_messages)
        .filter(|(key, _)| !template.source().contains(key.as_str()))
        .map(|(_, name)| name)
        .collect();
    unread.sort();
    unread.dedup();
    unread
}
