//! What was thought before an answer: the names under which messages hold it.
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Keys of a message for it; the first of them that a message has is its reasoning, as in transformers.
pub(crate) const KEYS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The message with its reasoning under both names that templates read, `reasoning_content` and `thinking` (transformers'
/// `_alias_reasoning_fields`).
pub(crate) fn under_all_names(message: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
    let named = KEYS.iter().filter_map(|key| message.get(*key));
    let Some(reasoning) = named.into_iter().find(|value| !value.is_null()) else {
        return Cow::Borrowed(message);
    };
    let mut all = Map::new();
    all.insert("thinking".to_owned(), reasoning.clone());
    all.extend(message.clone());
    all.insert("reasoning_content".to_owned(), reasoning.clone());
    Cow::Owned(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasoning_goes_by_every_name_that_templates_read() {
        for (message, wanted) in [
            (json!({"content": "a"}), json!({"content": "a"})),
            (json!({"thinking": null}), json!({"thinking": null})),
            (
                json!({"reasoning": "r"}),
                json!({"thinking": "r", "reasoning": "r", "reasoning_content": "r"}),
            ),
            (
                json!({"reasoning_content": "r", "content": "a"}),
                json!({"thinking": "r", "reasoning_content": "r", "content": "a"}),
            ),
            (
                json!({"thinking": "t", "reasoning_content": "r"}),
                json!({"thinking": "t", "reasoning_content": "r"}),
            ),
        ] {
            let made = under_all_names(message.as_object().unwrap()).into_owned();
            assert_eq!(Value::Object(made), wanted);
        }
    }
}
