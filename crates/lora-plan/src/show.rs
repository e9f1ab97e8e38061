//! How all commands show facts: JSON lines with an `event` in a pipe.
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A fact as a JSON object that says first what it is.
pub(crate) fn tagged<T: Serialize>(event: &str, fact: &T) -> Map<String, Value> {
    let mut fields = Map::from_iter([("event".to_owned(), json!(event))]);
    if let Ok(Value::Object(more)) = serde_json::to_value(fact) {
        fields.extend(more);
    }
    fields
}
