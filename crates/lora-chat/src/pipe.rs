//! Prompts in, answers out: JSON lines by JSON lines, plain text by text.
use crate::answer::Speaker;
use crate::growing::Answer;
use crate::voices::{Question, message};
use lora_cli::{Context as _, Error, Foreign as _, Result};
use lora_data::Message;
use serde_json::{Map, Value, json};
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};

/// Prompts that are answered together at most: those that have come by the time that the answers before are done. What is
/// answered does not depend on it.
const MOST_TOGETHER: usize = 16;

/// One prompt and the form in which it came.
struct Asked {
    question: Question,
    /// `id` of a JSON line, or none of plain text.
    form: Form,
}

enum Form {
    Text,
    Json(Option<Value>),
}

/// Answers every line until the pipe ends: by the first adapter, or by the base where there is none.
pub(crate) fn answer(
    speaker: &mut Speaker<'_>,
    lines: impl Iterator<Item = io::Result<String>> + Send + 'static,
) -> Result<()> {
    let voice = usize::from(speaker.voices.len() > 1);
    let (sender, receiver) = sync_channel(MOST_TOGETHER);
    lora_cli::thread("reading standard input", move || {
        for line in lines.enumerate() {
            if sender.send(line).is_err() {
                return; // the answers ended with an error
            }
        }
    })?;
    loop {
        let waiting = waiting(&receiver)?;
        if waiting.is_empty() {
            return Ok(());
        }
        let (questions, forms): (Vec<Question>, Vec<Form>) = waiting
            .into_iter()
            .map(|asked| (asked.question, asked.form))
            .unzip();
        let answers = speaker.answer(voice, &questions, &mut |_, _| {})?;
        speaker.ui.check_interrupt()?;
        for (form, answer) in forms.into_iter().zip(answers) {
            say(speaker, voice, form, &answer);
        }
    }
}

/// The next line and all that have come behind it; none at the end.
fn waiting(receiver: &Receiver<(usize, io::Result<String>)>) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    while asked.len() < MOST_TOGETHER {
        let next = match asked.is_empty() {
            true => receiver.recv().ok(),
            false => receiver.try_recv().ok(),
        };
        let Some((number, line)) = next else {
            break;
        };
        let place = || format!("standard input, line {}", number + 1);
        let line = line.foreign().context(place)?;
        if !line.trim().is_empty() {
            asked.push(read(line.trim()).context(place)?);
        }
    }
    Ok(asked)
}

fn read(line: &str) -> Result<Asked> {
    if !line.starts_with('{') {
        return Ok(Asked {
            question: Question {
                messages: vec![message("user", line)],
                tools: None,
            },
            form: Form::Text,
        });
    }
    let row: Map<String, Value> = serde_json::from_str(line).map_err(|error| {
        Error::new(format!("no JSON: {error}")).hint("a line that starts with { is a JSON object")
    })?;
    Ok(Asked {
        question: Question {
            messages: messages(&row)?,
            tools: row.get("tools").filter(|tools| !tools.is_null()).cloned(),
        },
        form: Form::Json(row.get("id").cloned()),
    })
}

/// The chat of a JSON line: `messages`, or `prompt` with `system` if it has one.
fn messages(row: &Map<String, Value>) -> Result<Vec<Message>> {
    const FORM: &str = "a line is {\"prompt\": TEXT}, with \"system\" if you like, or {\"messages\": [{\"role\": …, \"content\": …}]}";
    let fail = |what: &str| Err(Error::new(what).hint(FORM));
    if let Some(Value::Array(items)) = row.get("messages") {
        let found: Option<Vec<Message>> =
            items.iter().map(|item| item.as_object().cloned()).collect();
        return match found.filter(|messages| !messages.is_empty()) {
            Some(messages) => Ok(messages),
            None => fail("`messages` is no list of messages"),
        };
    }
    let Some(prompt) = row.get("prompt").and_then(Value::as_str) else {
        return fail("neither `prompt` nor `messages`");
    };
    let system = match row.get("system") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(message("system", text)),
        Some(_) => return fail("`system` is no text"),
    };
    Ok(system
        .into_iter()
        .chain([message("user", prompt)])
        .collect())
}

fn say(speaker: &Speaker<'_>, voice: usize, form: Form, answer: &Answer) {
    let Form::Json(id) = form else {
        speaker.ui.text(&format!("{}\n", answer.text));
        return;
    };
    let mut line = Map::new();
    line.extend(id.map(|id| ("id".to_owned(), id)));
    line.insert("model".to_owned(), json!(speaker.voices[voice].name));
    line.insert("answer".to_owned(), json!(answer.text));
    line.insert("tokens".to_owned(), json!(answer.tokens));
    line.insert("finish_reason".to_owned(), json!(answer.end.reason()));
    speaker.ui.text(&format!("{}\n", Value::Object(line)));
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
        for wrong in [
            "{",
            "{}",
            r#"{"prompt": 3}"#,
            r#"{"messages": []}"#,
            r#"{"messages": ["a"]}"#,
            r#"{"prompt": "a", "system": 1}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
