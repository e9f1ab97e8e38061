//! Tool calls: the same functions with the same arguments, however the model's template writes them.
use super::json::{parsed, same};
use super::metric::{Metric, Scale, Sums, mean_of};
use serde_json::{Map, Value};

/// Marks between which chat templates write a call (Hermes and Qwen; Mistral has only the first).
const MARKS: [(&str, &str); 2] = [("<tool_call>", "</tool_call>"), ("[TOOL_CALLS]", "</s>")];

/// The calls are the reference's: names alone, or names and arguments.
pub(crate) struct ToolCalls {
    /// Arguments count, too.
    pub(crate) arguments: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Call {
    name: String,
    arguments: Value,
}

impl Metric for ToolCalls {
    fn name(&self) -> &str {
        match self.arguments {
            true => "tool_call",
            false => "tool_name",
        }
    }

    fn scale(&self) -> Scale {
        Scale::Share
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        let wanted: Vec<_> = references.iter().filter_map(|r| calls(r)).collect();
        if wanted.is_empty() {
            return None;
        }
        let answered = calls(answer).unwrap_or_default();
        let is_met = wanted.iter().any(|wanted| self.are_same(&answered, wanted));
        mean_of(f64::from(u8::from(is_met)))
    }
}

impl ToolCalls {
    /// Parallel calls have no order.
    fn are_same(&self, answered: &[Call], wanted: &[Call]) -> bool {
        let mut left: Vec<&Call> = answered.iter().collect();
        let mut take = |call: &Call| {
            let is_it = |own: &&Call| {
                own.name == call.name && (!self.arguments || same(&own.arguments, &call.arguments))
            };
            let at = left.iter().position(is_it)?;
            Some(left.swap_remove(at))
        };
        wanted.iter().all(|call| take(call).is_some()) && left.is_empty()
    }
}

/// True if the text is or holds a tool call.
pub(crate) fn is_tool_call(text: &str) -> bool {
    calls(text).is_some()
}

/// The calls of a text: between marks, or the whole text; none where there is no call, or one that is broken.
fn calls(text: &str) -> Option<Vec<Call>> {
    for (open, close) in MARKS {
        if text.contains(open) {
            let mut found = Vec::new();
            for part in text.split(open).skip(1) {
                let body = part.split(close).next().unwrap_or(part);
                found.extend(of_value(&parsed(body.trim())?)?);
            }
            return Some(found);
        }
    }
    of_value(&parsed(text.trim())?)
}

fn of_value(value: &Value) -> Option<Vec<Call>> {
    match value {
        Value::Array(items) if !items.is_empty() => items.iter().map(call).collect(),
        Value::Object(fields) => match fields.get("tool_calls") {
            Some(calls) => of_value(calls),
            None => Some(vec![call(value)?]),
        },
        _ => None,
    }
}

/// `{"name", "arguments"}` (Hermes, Mistral), with `parameters` (Llama 3), or below `function` (OpenAI), where the
/// arguments may be JSON text.
fn call(value: &Value) -> Option<Call> {
    let fields: &Map<String, Value> = value.as_object()?;
    if let Some(function) = fields.get("function").filter(|inner| inner.is_object()) {
        return call(function);
    }
    let name = fields.get("name")?.as_str()?.to_owned();
    let written = fields
        .get("arguments")
        .or_else(|| fields.get("parameters"))?;
    let arguments = match written {
        Value::String(text) => parsed(text)?,
        other => other.clone(),
    };
    Some(Call { name, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = r#"{"name": "f", "arguments": {"a": 1, "b": "x"}}"#;

    fn of(answer: &str, reference: &str, arguments: bool) -> Option<f64> {
        let metric = ToolCalls { arguments };
        Some(metric.sums(answer, &[reference.to_owned()])?[0])
    }

    #[test]
    fn a_call_is_the_same_in_every_spelling() {
        for spelling in [
            r#"{"arguments": {"b": "x", "a": 1}, "name": "f"}"#,
            r#"<tool_call>{"name": "f", "parameters": {"a": 1, "b": "x"}}</tool_call>"#,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": \"x\"}}\n</tool_call>",
            r#"[TOOL_CALLS][{"name": "f", "arguments": {"a": 1, "b": "x"}}]"#,
            r#"{"tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": 1, \"b\": \"x\"}"}}]}"#,
        ] {
            assert_eq!(of(spelling, CALL, true), Some(1.0), "{spelling}");
        }
    }

    #[test]
    fn other_arguments_names_and_numbers_of_calls_are_told_apart() {
        let other = r#"{"name": "f", "arguments": {"a": 2, "b": "x"}}"#;
        assert_eq!(
            (of(other, CALL, true), of(other, CALL, false)),
            (Some(0.0), Some(1.0))
        );
        let twice = format!("[{CALL}, {CALL}]");
        assert_eq!(of(&twice, CALL, false), Some(0.0));
        let pair = format!("[{CALL}, {other}]");
        let turned = format!("[{other}, {CALL}]");
        assert_eq!(of(&turned, &pair, true), Some(1.0));
        for nothing in ["", "{}", "<tool_call>", "<tool_call></tool_call>", "f(a=1)"] {
            assert_eq!(of(nothing, CALL, false), Some(0.0), "{nothing}");
        }
    }

    #[test]
    fn a_row_without_a_call_is_not_judged() {
        assert_eq!((of(CALL, "hello", true), of("", "", true)), (None, None));
    }
}
