//! The fields of a request: those that are read, those that change nothing, and those that are refused by name because an
//! answer without them would be another than was asked for.
use super::refusal::Refusal;
use serde_json::{Map, Value, json};

/// Fields that `request` reads.
const READ: [&str; 16] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "tools",
    "tool_choice",
];

/// Fields that say nothing about the answer.
const HARMLESS: [&str; 7] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
];

/// Fields of the protocol that are not supported, and the values under which they ask for nothing.
fn neutral(field: &str) -> Vec<Value> {
    match field {
        "frequency_penalty" | "presence_penalty" => vec![json!(0), json!(0.0)],
        "logit_bias" => vec![json!({})],
        "logprobs" => vec![json!(false)],
        "top_logprobs" => vec![json!(0)],
        "response_format" => vec![json!({"type": "text"})],
        "modalities" => vec![json!(["text"])],
        "functions" => vec![json!([])],
        "function_call" => vec![json!("none"), json!("auto")],
        _ => Vec::new(),
    }
}

/// The fields without those that say nothing (null is absent); the first one that asks for what can't be had is refused.
pub(crate) fn checked(fields: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let mut read = Map::new();
    for (name, value) in fields {
        if value.is_null() || HARMLESS.contains(&name.as_str()) {
            continue;
        }
        if READ.contains(&name.as_str()) {
            read.insert(name, value);
        } else if !neutral(&name).contains(&value) {
            let shown: String = name.chars().take(60).collect();
            return Err(Refusal::field(
                shown.clone(),
                format!("`{shown}` is not supported by this server: without it the answer would be another than you ask for, so leave it out"),
            )
            .code("unsupported_parameter"));
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let checked = |fields: Value| checked(fields.as_object().unwrap().clone());
        for field in [
            json!({"logprobs": true}),
            json!({"response_format": {"type": "json_object"}}),
            json!({"frequency_penalty": 0.5}),
            json!({"logit_bias": {"3": 5}}),
            json!({"functions": [{"name": "f"}]}),
            json!({"reasoning_effort": "high"}),
            json!({"audio": {}}),
            json!({"temprature": 1}),
        ] {
            let refusal = checked(field.clone()).unwrap_err();
            let name = field.as_object().unwrap().keys().next().cloned();
            assert_eq!(refusal.param, name, "{field}");
        }
        let harmless = json!({
            "user": "a", "metadata": {"a": "b"}, "logprobs": false, "frequency_penalty": 0, "presence_penalty": 0.0,
            "response_format": {"type": "text"}, "audio": null, "logit_bias": {}, "seed": 3,
        });
        assert_eq!(
            Value::Object(checked(harmless).unwrap()),
            json!({"seed": 3})
        );
    }
}
