//! Answers that are JSON: whether they parse, and which fields are right.
use super::metric::{Metric, Scale, Sums, mean_of};
use serde_json::Value;
use std::collections::BTreeMap;

/// The whole answer is one JSON object or list.
pub(crate) struct Valid;

/// Fields that are right: 2·right ÷ (fields wanted + fields answered), a field being a path and its value.
pub(crate) struct Fields;

impl Metric for Valid {
    fn name(&self) -> &str {
        "json_valid"
    }

    fn scale(&self) -> Scale {
        Scale::Share
    }

    fn needs_reference(&self) -> bool {
        false
    }

    fn sums(&self, answer: &str, _: &[String]) -> Option<Sums> {
        mean_of(f64::from(u8::from(parsed(answer).is_some())))
    }
}

impl Metric for Fields {
    fn name(&self) -> &str {
        "json_fields"
    }

    fn scale(&self) -> Scale {
        Scale::Unit
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        let wanted: Vec<_> = references.iter().filter_map(|r| fields(r)).collect();
        let answered = fields(answer).unwrap_or_default();
        let score = |wanted: &BTreeMap<String, Value>| {
            let is_right = |(path, value): &(&String, &Value)| {
                answered.get(*path).is_some_and(|own| same(own, value))
            };
            let right = wanted.iter().filter(is_right).count();
            2.0 * right as f64 / (wanted.len() + answered.len()) as f64
        };
        let best = wanted.iter().filter(|fields| !fields.is_empty()).map(score);
        mean_of(best.reduce(f64::max)?)
    }
}

/// The text as a JSON object or list.
pub(crate) fn parsed(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    (value.is_object() || value.is_array()).then_some(value)
}

/// Equal values; numbers by what they are worth (1 and 1.0 are equal), objects whatever the order of their keys.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64() == b.as_f64() && is_exact(a, b)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let is_same =
                |(key, value): (&String, &Value)| b.get(key).is_some_and(|own| same(own, value));
            a.len() == b.len() && a.iter().all(is_same)
        }
        _ => one == other,
    }
}

/// False where both are integers: those are equal only if they are equal to the last digit.
fn is_exact(a: &serde_json::Number, b: &serde_json::Number) -> bool {
    a.is_f64() || b.is_f64()
}

/// Leaves by their path. An empty object or list is a leaf of its own.
fn fields(text: &str) -> Option<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    collect(&parsed(text)?, String::new(), &mut found);
    Some(found)
}

fn collect(value: &Value, path: String, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let key = Value::from(key.as_str());
                collect(value, format!("{path}.{key}"), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{at}]"), found);
            }
        }
        leaf => {
            if !path.is_empty() {
                found.insert(path, leaf.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str, reference: &str) -> Option<f64> {
        Some(Fields.sums(answer, &[reference.to_owned()])?[0])
    }

    #[test]
    fn json_is_an_object_or_a_list_and_nothing_around_it() {
        for (text, wanted) in [
            ("{\"a\": 1}", 1.0),
            ("[1]", 1.0),
            ("{}", 1.0),
            ("5", 0.0),
            ("\"a\"", 0.0),
            ("", 0.0),
            ("{\"a\": 1", 0.0),
            ("Sure: {}", 0.0),
            ("<|im_start|>{}", 0.0),
            ("{\"a\": NaN}", 0.0),
        ] {
            assert_eq!(Valid.sums(text, &[]).unwrap()[0], wanted, "{text}");
        }
    }

    #[test]
    fn fields_are_counted_by_path_and_value() {
        let reference = r#"{"name": "f", "arguments": {"a": 1, "b": [true, null]}}"#;
        assert_eq!(of(reference, reference), Some(1.0));
        assert_eq!(
            of(
                r#"{"arguments": {"b": [true, null], "a": 1.0}, "name": "f"}"#,
                reference
            ),
            Some(1.0)
        );
        assert_eq!(of(r#"{"name": "f"}"#, reference), Some(2.0 / 5.0));
        let more = r#"{"name": "f", "arguments": {"a": 1, "b": [true, null], "c": 0}}"#;
        assert_eq!(of(more, reference), Some(8.0 / 9.0));
        assert_eq!(of("", reference), Some(0.0));
        assert_eq!(of("{}", reference), Some(0.0));
    }

    #[test]
    fn a_reference_that_is_no_json_or_has_no_field_is_not_judged() {
        assert_eq!(
            (of("{}", "{}"), of("{}", "yes"), of("", "")),
            (None, None, None)
        );
    }

    #[test]
    fn big_integers_are_equal_only_to_the_last_digit() {
        let (a, b) = (r#"{"n": 9007199254740993}"#, r#"{"n": 9007199254740992}"#);
        assert_eq!((of(a, b), of(a, a)), (Some(0.0), Some(1.0)));
    }
}
