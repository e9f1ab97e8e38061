//! One line of a pipe: a text, or a JSON object that asks.
use crate::serve::messages;
use crate::voices::{Question, message};
use lora_cli::{Error, Result};
use lora_data::Message;
use serde_json::{Map, Value};

/// What a line asks, and the form in which it came.
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) form: Form,
    /// Keys that say nothing to what is asked.
    pub(crate) unread: Vec<String>,
}

pub(crate) enum Form {
    Text,
    /// With its `id`.
    Json(Option<Value>),
}

/// Keys that are read.
const READ: [&str; 5] = ["id", "prompt", "messages", "system", "tools"];

/// Keys of requests and of rows that ask for another answer than the one without them.
const ASKS: [&str; 28] = [
    "system_prompt",
    "instruction",
    "input",
    "question",
    "query",
    "history",
    "conversations",
    "documents",
    "chat_template_kwargs",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "n",
    "stop",
    "logprobs",
];

const FORM: &str = "a line is {\"prompt\": TEXT} or {\"messages\": [{\"role\": …, \"content\": …}]}, with \"system\", \"tools\" and \"id\" if you like; settings are flags (--help)";

fn fail<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(what.into()).hint(FORM))
}

/// Reads a line.
///
/// # Errors
/// If it is no chat, or asks for what would be left out.
pub(crate) fn read(line: &str) -> Result<Asked> {
    if !line.starts_with('{') {
        return Ok(Asked {
            question: Question {
                messages: vec![message("user", line)],
                tools: None,
            },
            form: Form::Text,
            unread: Vec::new(),
        });
    }
    let row: Map<String, Value> = serde_json::from_str(line).map_err(|error| {
        Error::new(format!("no JSON: {error}")).hint("a line that starts with { is a JSON object")
    })?;
    let says = |key: &&String| !row[*key].is_null();
    if let Some(key) = row.keys().filter(says).find(|key| ASKS.contains(&&key[..])) {
        return fail(format!(
            "`{key}` is not read in a line, and asks for another answer"
        ));
    }
    let unread = row.keys().filter(says);
    let unread = unread.filter(|key| !READ.contains(&&key[..])).cloned();
    Ok(Asked {
        question: Question {
            messages: chat(&row)?,
            tools: tools(&row)?,
        },
        form: Form::Json(id(&row)?),
        unread: unread.collect(),
    })
}

/// The chat of a line: `messages`, or `prompt`, with `system` if it has one.
fn chat(row: &Map<String, Value>) -> Result<Vec<Message>> {
    let given = |key: &str| row.get(key).filter(|value| !value.is_null());
    let mut chat = match (given("messages"), given("prompt")) {
        (Some(_), Some(_)) => return fail("both `prompt` and `messages`"),
        (Some(all), None) => match messages(Some(all)) {
            Ok(all) => all,
            Err(refusal) => return fail(refusal.message),
        },
        (None, Some(Value::String(prompt))) => vec![message("user", prompt)],
        (None, Some(_)) => return fail("`prompt` is no text"),
        (None, None) => return fail("neither `prompt` nor `messages`"),
    };
    match given("system") {
        None => {}
        Some(Value::String(_)) if chat[0]["role"] == "system" => {
            return fail("`system` beside a system message");
        }
        Some(Value::String(text)) => chat.insert(0, message("system", text)),
        Some(_) => return fail("`system` is no text"),
    }
    Ok(chat)
}

fn tools(row: &Map<String, Value>) -> Result<Option<Value>> {
    match row.get("tools") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(tools)) if tools.is_empty() => Ok(None),
        Some(tools @ Value::Array(all)) if all.iter().all(Value::is_object) => {
            Ok(Some(tools.clone()))
        }
        Some(_) => fail("`tools` is no list of objects"),
    }
}

/// The `id`, which is written again.
fn id(row: &Map<String, Value>) -> Result<Option<Value>> {
    match row.get("id") {
        Some(Value::Number(number)) if number.is_f64() => fail(
            "`id` is no whole number of 64 bits, and would not be written again as it is: put it in quotes",
        ),
        id => Ok(id.cloned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_or_json() {
        let roles = |line: &str| -> Vec<String> {
            let asked = read(line).unwrap();
            asked
                .question
                .messages
                .iter()
                .map(|m| m["role"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(roles("hello"), ["user"]);
        assert_eq!(
            roles(r#"{"prompt": "hello", "system": "be brief"}"#),
            ["system", "user"]
        );
        assert_eq!(
            roles(
                r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#
            ),
            ["user", "assistant"]
        );
        assert_eq!(
            roles(r#"{"messages": [{"role": "developer", "content": "a"}], "tools": []}"#),
            ["system"]
        );
        assert_eq!(
            roles(r#"{"messages": [{"role": "user", "content": "a"}], "system": "b"}"#),
            ["system", "user"]
        );
        for wrong in [
            "{",
            "{}",
            r#"{"prompt": 3}"#,
            r#"{"messages": []}"#,
            r#"{"messages": ["a"]}"#,
            r#"{"prompt": "a", "system": 1}"#,
            r#"{"prompt": "a", "messages": [{"role": "user", "content": "a"}]}"#,
            r#"{"messages": [{"role": "system", "content": "a"}], "system": "b"}"#,
            r#"{"messages": [{"role": "human", "content": "a"}]}"#,
            r#"{"prompt": "a", "tools": {}}"#,
            r#"{"prompt": "a", "id": 1.5}"#,
            r#"{"prompt": "a", "id": 12345678901234567890123}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_asks_for_another_answer_is_refused_and_the_rest_is_told() {
        for key in ASKS {
            let line = format!(r#"{{"prompt": "a", "{key}": 1}}"#);
            let refused = read(&line).err().unwrap().to_string();
            assert!(refused.contains(key), "{refused}");
            let nothing = format!(r#"{{"prompt": "a", "{key}": null}}"#);
            assert!(read(&nothing).is_ok(), "{key}");
        }
        let asked = read(r#"{"prompt": "a", "completion": "b", "id": "x", "note": null}"#).unwrap();
        assert_eq!(asked.unread, ["completion"]);
    }
}
