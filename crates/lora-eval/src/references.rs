//! Several right answers to a prompt: the rows' own, those of other rows with the same prompt, or those of a column.
use crate::Args;
use crate::args::SAME_PROMPT;
use crate::inputs::Loaded;
use crate::metrics::Extraction;
use crate::question::Question;
use lora_cli::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// Adds the further right answers that the flags ask for.
pub(crate) fn add(args: &Args, loaded: &Loaded, rows: &mut [Question]) -> Result<()> {
    match &args.references {
        None => Ok(()),
        Some(from) if from == SAME_PROMPT => {
            of_same_prompts(rows);
            Ok(())
        }
        Some(column) => of_column(column, loaded, rows),
    }
}

fn of_same_prompts(rows: &mut [Question]) {
    let mut by_prompt: BTreeMap<Vec<u32>, Vec<String>> = BTreeMap::new();
    for row in rows.iter() {
        let known = by_prompt.entry(row.prompt.clone()).or_default();
        if !known.contains(&row.expected) {
            known.push(row.expected.clone());
        }
    }
    for row in rows {
        let all = &by_prompt[&row.prompt];
        let others = all.iter().filter(|text| **text != row.expected).cloned();
        row.references.extend(others);
    }
}

fn of_column(column: &str, loaded: &Loaded, rows: &mut [Question]) -> Result<()> {
    let values = loaded.column(column)?;
    for (number, (row, value)) in rows.iter_mut().zip(values).enumerate() {
        let more = texts(value).ok_or_else(|| {
            Error::new(format!(
                "row {}, column '{column}': neither a text nor a list of texts",
                number + 1
            ))
            .hint("further right answers are a list of texts, or its JSON")
        })?;
        row.references.extend(more);
    }
    Ok(())
}

/// A text, a list of texts, or the JSON of such a list; null is none.
fn texts(value: &Value) -> Option<Vec<String>> {
    let trimmed = |text: &str| text.trim().to_owned();
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => texts(&list),
            _ => Some(vec![trimmed(text)]),
        },
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(trimmed))
            .collect(),
        _ => None,
    }
}

/// Leaves of each right answer what the pattern takes of it; one that the pattern does not match stays whole.
pub(crate) fn take(extraction: &Extraction, rows: &mut [Question]) -> Result<()> {
    for text in rows.iter_mut().flat_map(|row| &mut row.references) {
        if let Some(taken) = extraction.of(text)? {
            *text = taken;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn further_answers_are_texts_lists_or_their_json() {
        let of = |value: Value| texts(&value);
        assert_eq!(of(json!("a ")), Some(vec!["a".to_owned()]));
        assert_eq!(
            of(json!("[\"a\", \"b\"]")),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(
            of(json!(["a", "b"])),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(of(json!(null)), Some(Vec::new()));
        assert_eq!((of(json!(3)), of(json!([3]))), (None, None));
    }

    #[test]
    fn rows_of_one_prompt_share_their_answers() {
        let row = |prompt: u32, expected: &str| Question {
            prompt: vec![prompt],
            expected: expected.to_owned(),
            beyond_stop: false,
            references: vec![expected.to_owned()],
        };
        let mut rows = [row(1, "a"), row(2, "c"), row(1, "b"), row(1, "a")];
        of_same_prompts(&mut rows);
        let found: Vec<_> = rows.iter().map(|row| row.references.join(" ")).collect();
        assert_eq!(found, ["a b", "c", "b a", "a b"]);
    }
}
