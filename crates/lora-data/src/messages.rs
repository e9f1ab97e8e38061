//! One message as chat templates take it, from every way in which data sets write it: roles, parts, calls of tools, marks
//! of what is to be learned.
use crate::numbers;
use crate::refusal::Refusal;
use crate::roles::{Speaker, speaker};
use crate::template::Message;
use serde_json::{Map, Value, json};

/// Keys by which a message says whether it is learned.
const MARKS: [&str; 4] = ["weight", "train", "training", "loss"];

/// A message, and what its row says about it.
pub(crate) struct Read {
    pub(crate) message: Message,
    /// Whether it is to be learned, where the row says so.
    pub(crate) mark: Option<bool>,
    /// The message as it came, if the arguments of a call were JSON text.
    pub(crate) as_text: Option<Message>,
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

/// The calls of a checked message.
pub(crate) fn calls(message: &Message) -> &[Value] {
    let calls = message.get("tool_calls").and_then(Value::as_array);
    calls.map_or(&[], Vec::as_slice)
}

/// True for a message without text and calls: there is nothing to learn in it.
pub(crate) fn is_empty(message: &Message) -> bool {
    content(message).trim().is_empty() && calls(message).is_empty()
}

/// A message of a role and a text.
pub(crate) fn turn(role: &str, content: &str) -> Message {
    let mut message = Message::new();
    message.insert("role".to_owned(), json!(role));
    message.insert("content".to_owned(), json!(content));
    message
}

/// Reads one message of the list under `list`.
pub(crate) fn read(value: Value, list: &'static str) -> Result<Read, Refusal> {
    let Value::Object(mut message) = value else {
        return Err(Refusal::NotMessages(list));
    };
    rename(&mut message, "from", "role");
    rename(&mut message, "value", "content");
    let Some(name) = message.get("role").and_then(Value::as_str) else {
        return Err(Refusal::NotMessages(list));
    };
    let speaker = speaker(name)?;
    // A table's rows all have all the keys; what is null there is absent.
    message.retain(|key, value| key == "content" || !value.is_null());
    let mark = mark(&mut message)?;
    let role = match speaker {
        Speaker::Role(role) => role,
        Speaker::Call => {
            let call = message.remove("content").unwrap_or_default();
            message.insert("tool_calls".to_owned(), called(call)?);
            "assistant"
        }
    };
    message.insert("role".to_owned(), json!(role));
    // OpenAI's older form of one call.
    if let Some(call) = message.shift_remove("function_call") {
        message.insert("tool_calls".to_owned(), called(call)?);
    }
    join_parts(&mut message)?;
    let as_text = message.get("tool_calls").map(|_| message.clone());
    let parsed = parse_calls(&mut message)?;
    Ok(Read {
        message,
        mark,
        as_text: as_text.filter(|_| parsed),
    })
}

/// Puts a value of ShareGPT's key under the key of chat templates.
fn rename(message: &mut Message, from: &str, to: &str) {
    if !message.contains_key(to)
        && let Some(value) = message.shift_remove(from)
    {
        message.insert(to.to_owned(), value);
    }
}

/// Whether the row wants the message learned; the keys that say so are taken out.
fn mark(message: &mut Message) -> Result<Option<bool>, Refusal> {
    let mut all = None;
    for key in MARKS {
        let Some(value) = message.shift_remove(key) else {
            continue;
        };
        let one = match &value {
            Value::Bool(one) => *one,
            Value::Number(number) if number.as_f64() == Some(0.0) => false,
            Value::Number(number) if number.as_f64() == Some(1.0) => true,
            _ => return Err(Refusal::Weight(key, value.to_string())),
        };
        if all.is_some_and(|other| other != one) {
            return Err(Refusal::Weight(
                key,
                "another than the message's other mark".to_owned(),
            ));
        }
        all = Some(one);
    }
    Ok(all)
}

/// Calls in OpenAI's form, from one call or several, as JSON or as JSON text.
fn called(value: Value) -> Result<Value, Refusal> {
    let value = match value {
        Value::String(text) => {
            numbers::parse(&text).map_err(|fault| Refusal::of_number(fault, "function_call"))?
        }
        other => other,
    };
    let calls = match value {
        Value::Array(calls) => calls,
        one => vec![one],
    };
    let wrap = |call: Value| match call {
        Value::Object(map) if map.contains_key("function") => Ok(Value::Object(map)),
        Value::Object(map) if map.contains_key("name") => {
            Ok(json!({"type": "function", "function": map}))
        }
        _ => Err(Refusal::NotCall),
    };
    calls.into_iter().map(wrap).collect()
}

/// Arguments that are JSON text become what they say, as templates expect them; true if there were such.
pub(crate) fn parse_calls(message: &mut Message) -> Result<bool, Refusal> {
    let mut any = false;
    if let Some(Value::String(text)) = message.get("tool_calls") {
        let calls =
            numbers::parse(text).map_err(|fault| Refusal::of_number(fault, "tool_calls"))?;
        message.insert("tool_calls".to_owned(), calls);
    }
    let calls = match message.get_mut("tool_calls") {
        None => return Ok(false),
        Some(Value::Array(calls)) => calls,
        Some(_) => return Err(Refusal::NotCall),
    };
    for call in calls {
        let Value::Object(call) = call else {
            return Err(Refusal::NotCall);
        };
        let function = match call.get_mut("function") {
            Some(Value::Object(function)) => function,
            Some(_) => return Err(Refusal::NotCall),
            None => call,
        };
        if let Some(Value::String(text)) = function.get("arguments") {
            let parsed =
                numbers::parse(text).map_err(|fault| Refusal::of_number(fault, "arguments"))?;
            if !parsed.is_object() {
                return Err(Refusal::NotCall);
            }
            function.insert("arguments".to_owned(), parsed);
            any = true;
        }
    }
    Ok(any)
}

/// Text that comes in parts is joined; a part that is no text is named.
fn join_parts(message: &mut Map<String, Value>) -> Result<(), Refusal> {
    let joined = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) if has_calls(message) => String::new(),
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<String, _>>()?,
        _ => return Err(Refusal::NotText("content")),
    };
    message.insert("content".to_owned(), Value::String(joined));
    Ok(())
}

/// True if there are calls, be they JSON text.
fn has_calls(message: &Message) -> bool {
    match message.get("tool_calls") {
        Some(Value::String(text)) => !text.is_empty(),
        _ => !calls(message).is_empty(),
    }
}

fn part(part: &Value) -> Result<&str, Refusal> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
    let text = part.as_str().or_else(|| part.get("text")?.as_str());
    match text {
        Some(text) if kind == "text" => Ok(text),
        _ if kind == "text" => Err(Refusal::NotText("content")),
        _ => Err(Refusal::Part(kind.to_owned())),
    }
}
