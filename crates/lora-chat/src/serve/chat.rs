//! The messages of a request, as chat templates take them.
use super::refusal::Refusal;
use lora_data::Message;
use serde_json::{Map, Value};

/// Reads `messages`.
pub(crate) fn messages(value: Option<&Value>) -> Result<Vec<Message>, Refusal> {
    let items = value
        .and_then(Value::as_array)
        .filter(|all| !all.is_empty());
    let Some(items) = items else {
        return Err(Refusal::field(
            "messages",
            "`messages` must be a list of at least one message",
        ));
    };
    let read = |(at, item): (usize, &Value)| message(item, &format!("messages[{at}]"));
    items.iter().enumerate().map(read).collect()
}

fn message(value: &Value, at: &str) -> Result<Message, Refusal> {
    let Value::Object(given) = value else {
        return Err(Refusal::field(at, format!("`{at}` is no object")));
    };
    let mut read = Map::new();
    let mut content = Value::from("");
    let has_calls = given
        .get("tool_calls")
        .is_some_and(|calls| !calls.is_null());
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let field = format!("{at}.{name}");
        match name.as_str() {
            "role" => {
                read.insert("role".to_owned(), role(value, &field)?.into());
            }
            "content" => content = text(value, &field)?.into(),
            "tool_calls" => {
                read.insert("tool_calls".to_owned(), calls(value, &field)?);
            }
            "name" | "tool_call_id" if value.is_string() => {
                read.insert(name.clone(), value.clone());
            }
            // What a client hands back of an earlier answer.
            "refusal" | "annotations" => {}
            _ => {
                return Err(Refusal::field(
                    &field,
                    format!("`{field}` is not supported"),
                ));
            }
        }
    }
    let Some(role) = read.get("role") else {
        return Err(Refusal::field(at, format!("`{at}` has no `role`")));
    };
    let has_text = given.get("content").is_some_and(|text| !text.is_null());
    if !(has_text || role == "assistant" && has_calls) {
        return Err(Refusal::field(at, format!("`{at}` has no `content`")));
    }
    read.insert("content".to_owned(), content);
    Ok(read)
}

/// A role that chat templates know. `developer` is the newer name of `system`.
fn role<'v>(value: &'v Value, field: &str) -> Result<&'v str, Refusal> {
    match value.as_str() {
        Some("developer") => Ok("system"),
        Some(role @ ("system" | "user" | "assistant" | "tool")) => Ok(role),
        _ => Err(Refusal::field(
            field,
            format!("`{field}` is none of system, developer, user, assistant and tool"),
        )),
    }
}

/// A text, or its parts joined.
fn text(value: &Value, field: &str) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => parts.iter().map(|one| part(one, field)).collect(),
        _ => Err(Refusal::field(field, format!("`{field}` is no text"))),
    }
}

fn part<'v>(value: &'v Value, field: &str) -> Result<&'v str, Refusal> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("");
    let text = value.get("text").and_then(Value::as_str);
    text.filter(|_| kind == "text").ok_or_else(|| {
        let kind: String = kind.chars().take(40).collect();
        let what = match kind.as_str() {
            "" | "text" => "a part that is no text".to_owned(),
            kind => format!("a part of type `{kind}`, and this server's models read text alone"),
        };
        Refusal::field(field, format!("`{field}` has {what}"))
    })
}

/// Calls, checked; their arguments stay as they came: what the template wants of them is known where it is rendered.
fn calls(value: &Value, field: &str) -> Result<Value, Refusal> {
    let fail = || {
        let form = "calls of functions: {\"function\": {\"name\": …, \"arguments\": \"{…}\"}}";
        Refusal::field(field, format!("`{field}` is no list of {form}"))
    };
    for call in value.as_array().ok_or_else(fail)? {
        let function = call.get("function").and_then(Value::as_object);
        let function = function.ok_or_else(fail)?;
        if !function.get("name").is_some_and(Value::is_string) {
            return Err(fail());
        }
        let is_object = match function.get("arguments") {
            Some(Value::String(text)) => serde_json::from_str::<Map<String, Value>>(text).is_ok(),
            arguments => arguments.is_some_and(Value::is_object),
        };
        if !is_object {
            return Err(fail());
        }
    }
    Ok(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_read_or_refused_by_their_place() {
        let read = messages(Some(&json!([
            {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]},
            {"role": "assistant", "content": null, "refusal": null,
             "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "3"},
        ])))
        .unwrap();
        assert_eq!(
            (&read[0]["role"], &read[0]["content"]),
            (&json!("system"), &json!("be brief"))
        );
        assert_eq!(
            read[1]["tool_calls"][0]["function"]["arguments"],
            json!("{\"a\": 1}")
        );
        for (wrong, place) in [
            (json!([]), "messages"),
            (json!("hello"), "messages"),
            (json!([3]), "messages[0]"),
            (json!([{"role": "user"}]), "messages[0]"),
            (json!([{"content": "a"}]), "messages[0]"),
            (
                json!([{"role": "owner", "content": "a"}]),
                "messages[0].role",
            ),
            (
                json!([{"role": "user", "content": 3}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": "a", "audio": {}}]),
                "messages[0].audio",
            ),
            (
                json!([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}]),
                "messages[0].tool_calls",
            ),
        ] {
            let refusal = messages(Some(&wrong)).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some(place), "{wrong}");
        }
    }
}
