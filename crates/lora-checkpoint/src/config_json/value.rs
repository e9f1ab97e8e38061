//! Typed look-ups in a JSON object; messages name the key.
use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

pub(super) fn non_null<'a>(json: &'a Object, key: &str) -> Option<&'a Value> {
    json.get(key).filter(|v| !v.is_null())
}

pub(super) fn size(json: &Object, key: &str) -> Result<Option<usize>, String> {
    match non_null(json, key) {
        None => Ok(None),
        Some(v) => match v.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(format!("{key} is {v}, expected a whole number")),
        },
    }
}

pub(super) fn real(json: &Object, key: &str) -> Result<Option<f64>, String> {
    match non_null(json, key) {
        None => Ok(None),
        Some(v) => v
            .as_f64()
            .map(Some)
            .ok_or_else(|| format!("{key} is {v}, expected a number")),
    }
}

/// A list of whole numbers.
pub(super) fn sizes(json: &Object, key: &str) -> Result<Option<Vec<usize>>, String> {
    let number = |v: &Value| {
        let found = v.as_u64().and_then(|n| usize::try_from(n).ok());
        found.ok_or_else(|| format!("{key} has {v}, expected whole numbers"))
    };
    match non_null(json, key) {
        None => Ok(None),
        Some(Value::Array(list)) => list.iter().map(number).collect::<Result<_, _>>().map(Some),
        Some(v) => Err(format!("{key} is {v}, expected a list of whole numbers")),
    }
}

/// A list of numbers.
pub(super) fn reals(json: &Object, key: &str) -> Result<Option<Vec<f64>>, String> {
    let number = |v: &Value| {
        v.as_f64()
            .ok_or_else(|| format!("{key} has {v}, expected numbers"))
    };
    match non_null(json, key) {
        None => Ok(None),
        Some(Value::Array(list)) => list.iter().map(number).collect::<Result<_, _>>().map(Some),
        Some(v) => Err(format!("{key} is {v}, expected a list of numbers")),
    }
}

pub(super) fn flag(json: &Object, key: &str, default: bool) -> Result<bool, String> {
    match non_null(json, key) {
        None => Ok(default),
        Some(v) => v
            .as_bool()
            .ok_or_else(|| format!("{key} is {v}, expected true or false")),
    }
}

/// Ids under a key; an absent key has transformers' default, an explicit null has none.
pub(super) fn ids_or(json: &Object, key: &str, default: &[u32]) -> Result<Vec<u32>, String> {
    match json.get(key) {
        None => Ok(default.to_vec()),
        value => ids(value).map_err(|m| format!("{key}: {m}")),
    }
}

/// An id, a list of ids, or null.
pub(super) fn ids(value: Option<&Value>) -> Result<Vec<u32>, String> {
    let id = |v: &Value| match v.as_i64() {
        Some(n) if (0..=i64::from(u32::MAX)).contains(&n) => Ok(n as u32),
        _ => Err(format!(
            "token id {v} is not a whole number that is not negative"
        )),
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        // Old configs write -1 for "none".
        Some(v) if v.as_i64() == Some(-1) => Ok(Vec::new()),
        Some(v) => Ok(vec![id(v)?]),
    }
}
