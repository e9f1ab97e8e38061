//! Raw records, recognised by their keys: chats, prompt/completion pairs, Alpaca rows, ShareGPT rows and plain text.
use crate::error::Mistake;
use crate::keys::{self, Form, KNOWN_KEYS, has};
use crate::messages::{self, content, is_empty, role, turn};
use crate::refusal::{Fault, Refusal};
use crate::template::{Message, hex};
use crate::{Conversation, Reading, numbers};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// One raw record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// First 16 hex digits of the sha256 of the record as compact JSON.
    pub id: String,
    /// What it holds.
    pub content: Content,
    /// Keys of the row that say something and are not read.
    pub unused: Vec<String>,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Messages of a chat.
    Chat(Conversation),
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

impl Record {
    /// Recognises a row by its keys, in the order of [`KNOWN_KEYS`]; what other keys it has stands in `unused`.
    /// Keys whose value is null count as absent where another form fits.
    pub fn from_json(row: &Value) -> Result<Self, Fault> {
        Self::read(row, &Reading::default())
    }

    /// The same with other names of keys, and without those that are to be left out.
    pub fn read(row: &Value, reading: &Reading) -> Result<Self, Fault> {
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
        let row = reading.apply(row)?;
        let form = keys::form(&row, reading.named());
        keys::refuse_otherwise(&row, form)?;
        let Some(form) = form else {
            return Err(match keys::form(&row, std::iter::empty()) {
                Some(other) => passed_over(&row, reading, other),
                None => unknown(&row),
            });
        };
        let content = match form {
            Form::Chat(key) => chat(list(&row, key)?, key, None, &row)?,
            Form::Turns(key) => chat(alternating(&row, key)?, key, None, &row)?,
            Form::Pair {
                prompt,
                completion,
                more,
            } => pair(&row, prompt, completion, more)?,
            Form::Text => {
                let text = text(&row, "text")?;
                if text.trim().is_empty() {
                    return Err(Refusal::EmptyCompletion.into());
                }
                Content::Text(text)
            }
        };
        let unused = keys::unused(&row, form);
        Ok(Self {
            id,
            content,
            unused,
        })
    }
}

/// A row that has a layout, but none with the keys that a flag names.
fn passed_over(row: &Map<String, Value>, reading: &Reading, other: Form) -> Fault {
    let named: Vec<String> = reading
        .named()
        .filter(|key| !other.reads(key))
        .map(|key| format!("'{key}'"))
        .collect();
    let keys: Vec<String> = row.keys().take(20).map(|key| format!("'{key}'")).collect();
    let layout = other.needs().join(" + ");
    let mistake = Mistake::new(format!(
        "a flag names {}, which no layout of the row reads; it would be read as {layout}, and has {}",
        named.join(", "),
        keys.join(", ")
    ));
    Fault::Shape(
        mistake.hint(
            "name both sides: --columns prompt=KEY,completion=KEY; --ignore leaves a key out",
        ),
    )
}

/// A row without the keys of any layout.
fn unknown(row: &Map<String, Value>) -> Fault {
    if let Some(key) = keys::null_key(row) {
        return Refusal::NotText(key).into();
    }
    let keys: Vec<String> = row.keys().take(20).map(|key| format!("'{key}'")).collect();
    let found = if keys.is_empty() {
        "none".to_owned()
    } else {
        keys.join(", ")
    };
    let mistake = Mistake::new(format!("the row lacks the needed keys; it has {found}"));
    let known = format!(
        "known are {KNOWN_KEYS}; --columns prompt=KEY,completion=KEY names others, and --prompt-template joins several"
    );
    // A table of one column whose name holds the separator of another kind of table.
    let separator = [";", "\t", "|"]
        .into_iter()
        .find(|separator| row.len() == 1 && row.keys().all(|key| key.contains(separator)));
    Fault::Shape(mistake.hint(match separator {
        Some(separator) => {
            format!("if the columns of a table are separated by {separator:?}, name that with --separator; else {known}")
        }
        None => known,
    }))
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

/// A list; tables keep such a list as JSON text, which is taken too.
fn list(row: &Map<String, Value>, key: &'static str) -> Result<Vec<Value>, Refusal> {
    match row.get(key) {
        Some(Value::Array(items)) => Ok(items.clone()),
        Some(Value::String(json)) => match numbers::parse(json) {
            Ok(Value::Array(items)) => Ok(items),
            Err(numbers::Fault::TooLarge(number)) => Err(Refusal::LargeNumber(number)),
            _ => Err(Refusal::NotMessages(key)),
        },
        _ => Err(Refusal::NotMessages(key)),
    }
}

/// Texts of user and assistant in turn, as messages.
fn alternating(row: &Map<String, Value>, key: &'static str) -> Result<Vec<Value>, Refusal> {
    let turns = list(row, key)?.into_iter().enumerate();
    let message = |(at, text): (usize, Value)| match text {
        Value::String(text) if at % 2 == 0 => Ok(turn("user", &text).into()),
        Value::String(text) => Ok(turn("assistant", &text).into()),
        _ => Err(Refusal::NotText(key)),
    };
    turns.map(message).collect()
}

/// Prompt and completion, each as text or (as TRL has it) as a list of messages.
fn pair(
    row: &Map<String, Value>,
    prompt_key: &'static str,
    completion_key: &'static str,
    more: &[&'static str],
) -> Result<Content, Refusal> {
    let side = |key: &'static str, role: &str| match &row[key] {
        Value::Array(_) => list(row, key),
        _ => Ok(vec![turn(role, &text(row, key)?).into()]),
    };
    let needs_template = ["tools", "functions", "chat_template_kwargs"];
    let is_chat = row[prompt_key].is_array()
        || row[completion_key].is_array()
        || needs_template.iter().any(|key| has(row, key));
    let earlier = earlier(row)?;
    if is_chat || !earlier.is_empty() {
        let mut messages = earlier;
        let mut prompt = side(prompt_key, "user")?;
        for key in more {
            let more = optional_text(row, key)?;
            if let (Some(more), Some(Value::Object(last))) = (more, prompt.last_mut()) {
                let joined = format!("{}\n\n{more}", content(last));
                last.insert("content".to_owned(), json!(joined));
            }
        }
        if row[prompt_key]
            .as_str()
            .is_some_and(|text| text.trim().is_empty())
        {
            return Err(Refusal::EmptyPrompt);
        }
        messages.extend(prompt);
        let start = messages.len();
        messages.extend(side(completion_key, "assistant")?);
        return chat(messages, prompt_key, Some(start), row);
    }
    let mut prompt = text(row, prompt_key)?;
    for key in more {
        if let Some(more) = optional_text(row, key)? {
            prompt = format!("{prompt}\n\n{more}");
        }
    }
    let completion = text(row, completion_key)?;
    if completion.trim().is_empty() {
        return Err(Refusal::EmptyCompletion);
    }
    Ok(Content::Pair {
        system: system(row)?,
        prompt,
        completion,
    })
}

/// Earlier turns (LLaMA-Factory, ms-swift): pairs of question and answer, or messages.
fn earlier(row: &Map<String, Value>) -> Result<Vec<Value>, Refusal> {
    if !has(row, "history")
        || row["history"]
            .as_str()
            .is_some_and(|text| text.trim().is_empty())
    {
        return Ok(Vec::new());
    }
    let mut messages = Vec::new();
    for item in list(row, "history")? {
        match item {
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(question), Value::String(answer)] => {
                    messages.push(turn("user", question).into());
                    messages.push(turn("assistant", answer).into());
                }
                _ => return Err(Refusal::NotMessages("history")),
            },
            message => messages.push(message),
        }
    }
    Ok(messages)
}

/// The row's own system text.
fn system(row: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    Ok(match optional_text(row, "system")? {
        Some(system) => Some(system),
        None => optional_text(row, "system_prompt")?,
    })
}

/// Messages of a chat; `completion` is where the row itself says that the completion begins.
fn chat(
    values: Vec<Value>,
    list: &'static str,
    completion: Option<usize>,
    row: &Map<String, Value>,
) -> Result<Content, Refusal> {
    let mut made = Conversation {
        completion,
        tools: tools(row)?,
        arguments: arguments(row)?,
        ..Conversation::default()
    };
    for value in values {
        let read = messages::read(value, list)?;
        let as_text = read.as_text.unwrap_or_else(|| read.message.clone());
        made.has_text_arguments |= as_text != read.message;
        made.as_text.push(as_text);
        made.messages.push(read.message);
        made.marks.push(read.mark);
    }
    if let Some(system) = system(row)? {
        made.add_system(&system)?;
    }
    made.check()?;
    Ok(Content::Chat(made))
}

/// The tools that a row offers, as they are; JSON text is read.
fn tools(row: &Map<String, Value>) -> Result<Option<Value>, Refusal> {
    let parsed = |value: &Value| match value {
        Value::String(text) if text.trim().is_empty() => Ok(Value::Null),
        Value::String(text) => {
            numbers::parse(text).map_err(|fault| Refusal::of_number(fault, "tools"))
        }
        other => Ok(other.clone()),
    };
    let (value, is_older) = match (row.get("tools"), row.get("functions")) {
        (None | Some(Value::Null), Some(functions)) => (functions, true),
        (Some(tools), _) => (tools, false),
        (None, None) => return Ok(None),
    };
    let tools = match parsed(value)? {
        Value::Null => return Ok(None),
        Value::Array(tools) => tools,
        _ => return Err(Refusal::NotTools),
    };
    let tool = |tool: &Value| match parsed(tool)? {
        Value::Object(map) if is_older => Ok(json!({"type": "function", "function": map})),
        Value::Object(map) => Ok(Value::Object(map)),
        _ => Err(Refusal::NotTools),
    };
    let tools: Vec<Value> = tools.iter().map(tool).collect::<Result<_, _>>()?;
    Ok((!tools.is_empty()).then_some(Value::Array(tools)))
}

/// What the row gives its template beside messages and tools.
fn arguments(row: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let key = "chat_template_kwargs";
    match row.get(key) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Map::new()),
        Some(Value::String(text)) => match numbers::parse(text) {
            Ok(Value::Object(map)) => Ok(map),
            _ => Err(Refusal::NotJson(key)),
        },
        Some(_) => Err(Refusal::NotJson(key)),
    }
}

impl Conversation {
    /// Puts the row's system text before messages that have none.
    fn add_system(&mut self, text: &str) -> Result<(), Refusal> {
        match self
            .messages
            .first()
            .filter(|first| role(first) == "system")
        {
            Some(first) if content(first) == text => Ok(()),
            Some(_) => Err(Refusal::TwoSystems),
            None => {
                self.insert(0, turn("system", text));
                Ok(())
            }
        }
    }

    /// Refuses what nothing can be learned of, whatever is asked for.
    fn check(&self) -> Result<(), Refusal> {
        let is_assistant = |message: &Message| role(message) == "assistant";
        let last = self
            .messages
            .iter()
            .rposition(is_assistant)
            .ok_or(Refusal::NoAssistant)?;
        let start = self.completion.unwrap_or(last);
        if start > last || !self.messages[start..].iter().any(is_assistant) {
            return Err(Refusal::NoAssistant);
        }
        if start == 0 {
            return Err(Refusal::EmptyPrompt);
        }
        match is_empty(&self.messages[last]) {
            true => Err(Refusal::EmptyCompletion),
            false => Ok(()),
        }
    }
}
