//! Raw records, recognised by their keys: chats, prompt/completion pairs, Alpaca rows, ShareGPT rows and plain text.
use crate::error::Mistake;
use crate::refusal::Refusal;
use crate::template::{Message, hex};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The keys by which a row is recognised, for messages to people.
pub const KNOWN_KEYS: &str =
    "messages | conversations | prompt + completion | instruction (+ input) + output | text";

/// One raw record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// First 16 hex digits of the sha256 of the record as compact JSON.
    pub id: String,
    /// What it holds.
    pub content: Content,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Messages; those from `prompt` on are the completion, which is what is learned.
    Chat {
        /// All messages, the completion last.
        messages: Vec<Message>,
        /// Messages that make the prompt.
        prompt: usize,
        /// Tools offered to the model, passed to the template as they are.
        tools: Option<Value>,
    },
    /// A prompt and its completion as text.
    Pair {
        /// System message, if the row brings one.
        system: Option<String>,
        /// What is asked.
        prompt: String,
        /// What is learned.
        completion: String,
    },
    /// Text of which every token is learned.
    Text(String),
}

/// Why a row gave no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is no object, or has none of the known keys; the file is not what it should be.
    Shape(Mistake),
    /// It has the keys, but can't be used: to be counted.
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Record {
    /// Recognises a row by its keys, in the order of [`KNOWN_KEYS`]; other keys are not looked at.
    /// Keys whose value is null count as absent where another form fits.
    pub fn from_json(row: &Value) -> Result<Self, Fault> {
        let Value::Object(row) = row else {
            return Err(Fault::Shape(Mistake::new(format!(
                "a row must be an object with keys, but this is {}",
                kind(row)
            ))));
        };
        let id = hex(&Sha256::digest(
            serde_json::to_string(row).unwrap_or_default(),
        ))[..16]
            .to_owned();
        let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
        let content = if has("messages") {
            chat(list(row, "messages")?, None, row)?
        } else if has("conversations") {
            chat(share_gpt(list(row, "conversations")?)?, None, row)?
        } else if has("prompt") && has("completion") {
            pair(row)?
        } else if has("instruction") && has("output") {
            alpaca(row)?
        } else if has("text") {
            let text = text(row, "text")?;
            if text.trim().is_empty() {
                return Err(Refusal::EmptyCompletion.into());
            }
            Content::Text(text)
        } else if let Some(key) = null_key(row) {
            return Err(Refusal::NotText(key).into());
        } else {
            let keys: Vec<String> = row.keys().take(20).map(|key| format!("'{key}'")).collect();
            let found = if keys.is_empty() {
                "none".to_owned()
            } else {
                keys.join(", ")
            };
            return Err(Fault::Shape(
                Mistake::new(format!("the row lacks the needed keys; it has {found}"))
                    .hint(format!("known are {KNOWN_KEYS}")),
            ));
        };
        Ok(Self { id, content })
    }
}

/// A key that makes a known form, but holds null.
fn null_key(row: &Map<String, Value>) -> Option<&'static str> {
    const FORMS: [&[&str]; 5] = [
        &["messages"],
        &["conversations"],
        &["prompt", "completion"],
        &["instruction", "output"],
        &["text"],
    ];
    let form = FORMS
        .into_iter()
        .find(|form| form.iter().all(|key| row.contains_key(*key)))?;
    form.iter().copied().find(|key| row[*key].is_null())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn text(row: &Map<String, Value>, key: &'static str) -> Result<String, Refusal> {
    row.get(key)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or(Refusal::NotText(key))
}

fn optional_text(row: &Map<String, Value>, key: &'static str) -> Result<Option<String>, Refusal> {
    match row.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(row, key).map(|text| (!text.trim().is_empty()).then_some(text)),
    }
}

/// A list of messages; tables keep such a list as JSON text, which is taken too.
fn list(row: &Map<String, Value>, key: &'static str) -> Result<Vec<Value>, Refusal> {
    match row.get(key) {
        Some(Value::Array(items)) => Ok(items.clone()),
        Some(Value::String(json)) => {
            serde_json::from_str(json).map_err(|_| Refusal::NotMessages(key))
        }
        _ => Err(Refusal::NotMessages(key)),
    }
}

/// Prompt and completion, as text or (as TRL has it) both as lists of messages.
fn pair(row: &Map<String, Value>) -> Result<Content, Refusal> {
    if row["prompt"].is_array() && row["completion"].is_array() {
        let (mut messages, completion) = (list(row, "prompt")?, list(row, "completion")?);
        let prompt = messages.len();
        messages.extend(completion);
        return chat(messages, Some(prompt), row);
    }
    let (prompt, completion) = (text(row, "prompt")?, text(row, "completion")?);
    if completion.trim().is_empty() {
        return Err(Refusal::EmptyCompletion);
    }
    Ok(Content::Pair {
        system: optional_text(row, "system")?,
        prompt,
        completion,
    })
}

fn alpaca(row: &Map<String, Value>) -> Result<Content, Refusal> {
    let mut prompt = text(row, "instruction")?;
    if let Some(input) = optional_text(row, "input")? {
        prompt = format!("{prompt}\n\n{input}");
    }
    let completion = text(row, "output")?;
    if completion.trim().is_empty() {
        return Err(Refusal::EmptyCompletion);
    }
    Ok(Content::Pair {
        system: optional_text(row, "system")?,
        prompt,
        completion,
    })
}

/// Messages of a chat. Without a given end of the prompt, the last assistant message is the completion, and what
/// stands behind it is left out.
fn chat(
    messages: Vec<Value>,
    prompt: Option<usize>,
    row: &Map<String, Value>,
) -> Result<Content, Refusal> {
    let mut messages = messages
        .into_iter()
        .map(message)
        .collect::<Result<Vec<_>, _>>()?;
    let is_assistant = |message: &Message| role(message) == "assistant";
    let last = messages
        .iter()
        .rposition(is_assistant)
        .ok_or(Refusal::NoAssistant)?;
    messages.truncate(last + 1);
    let prompt = prompt.unwrap_or(last);
    if prompt > last || !messages[prompt..].iter().any(is_assistant) {
        return Err(Refusal::NoAssistant);
    }
    if prompt == 0 {
        return Err(Refusal::EmptyPrompt);
    }
    let empty = |message: &Message| {
        content(message).trim().is_empty() && !message.contains_key("tool_calls")
    };
    if empty(&messages[last]) {
        return Err(Refusal::EmptyCompletion);
    }
    let tools = row
        .get("tools")
        .filter(|tools| tools.as_array().is_some_and(|tools| !tools.is_empty()))
        .cloned();
    Ok(Content::Chat {
        messages,
        prompt,
        tools,
    })
}

/// The role of a checked message.
pub(crate) fn role(message: &Message) -> &str {
    message
        .get("role")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The text of a checked message.
pub(crate) fn content(message: &Message) -> &str {
    message
        .get("content")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Checks one message; text that comes in parts is joined.
fn message(value: Value) -> Result<Message, Refusal> {
    let Value::Object(mut message) = value else {
        return Err(Refusal::NotMessages("messages"));
    };
    if !matches!(
        role(&message),
        "system" | "user" | "assistant" | "tool" | "developer"
    ) {
        return Err(Refusal::UnknownRole);
    }
    // A table's rows all have all the keys; what is null there is absent.
    message.retain(|key, value| key == "content" || !value.is_null());
    let joined = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) if message.contains_key("tool_calls") => String::new(),
        Some(Value::Array(parts)) => {
            let text = |part: &Value| part.get("text").and_then(Value::as_str).map(str::to_owned);
            parts
                .iter()
                .map(text)
                .collect::<Option<String>>()
                .ok_or(Refusal::NotText("content"))?
        }
        _ => return Err(Refusal::NotText("content")),
    };
    message.insert("content".to_owned(), Value::String(joined));
    Ok(message)
}

/// ShareGPT's `from` and `value` as `role` and `content`.
fn share_gpt(turns: Vec<Value>) -> Result<Vec<Value>, Refusal> {
    let turn = |turn: Value| -> Result<Value, Refusal> {
        if turn.get("role").is_some() {
            return Ok(turn);
        }
        let from = turn
            .get("from")
            .and_then(Value::as_str)
            .ok_or(Refusal::NotMessages("conversations"))?;
        let role = match from {
            "human" | "user" => "user",
            "gpt" | "assistant" | "chatgpt" | "model" => "assistant",
            "system" => "system",
            "tool" | "observation" | "function_response" => "tool",
            _ => return Err(Refusal::UnknownRole),
        };
        let value = turn
            .get("value")
            .cloned()
            .ok_or(Refusal::NotText("value"))?;
        Ok(serde_json::json!({"role": role, "content": value}))
    };
    turns.into_iter().map(turn).collect()
}
