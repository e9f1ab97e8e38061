//! Values of a pipeline: scalars and lists as text, and `$name` inside them.
use crate::file::is_name_char;
use serde_json::Value;

/// A scalar as it stands in an argv, in reasons and in folder names; none for null, lists and mappings.
///
/// A float is written in its shortest form, so that `2e-4` and `0.0002` are the same value with the same text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(match number.as_f64() {
            Some(x) if number.is_f64() && x != 0.0 && !(1e-3..1e16).contains(&x.abs()) => {
                format!("{x:e}")
            }
            Some(x) if number.is_f64() => x.to_string(),
            _ => number.to_string(),
        }),
        _ => None,
    }
}

/// A value on one line, for reasons and error messages.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        other => scalar(other).unwrap_or_else(|| other.to_string()),
    }
}

/// One piece of a text with references.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    /// `$name` or `${name}`.
    Name(&'a str),
}

/// Splits `text` at `$name` and `${name}`; `$$` is a plain `$`. Fails with what is wrong.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        if at > 0 {
            found.push(Piece::Text(&rest[..at]));
        }
        let after = &rest[at + 1..];
        if let Some(left) = after.strip_prefix('$') {
            found.push(Piece::Text("$"));
            rest = left;
            continue;
        }
        let (name, left) = if let Some(inner) = after.strip_prefix('{') {
            inner
                .split_once('}')
                .ok_or_else(|| format!("`{text}` has a `${{` without its `}}`"))?
        } else {
            after.split_at(after.find(|c| !is_name_char(c)).unwrap_or(after.len()))
        };
        if name.is_empty() {
            return Err(format!(
                "`{text}` has a `$` without a name (`$$` is a plain `$`)"
            ));
        }
        found.push(Piece::Name(name));
        rest = left;
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    Ok(found)
}

/// The candidate most like `wanted`, if one is like it at all.
pub(crate) fn nearest<'a>(
    wanted: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let (distance, best) = candidates
        .map(|c| (distance(wanted, c), c))
        .min_by_key(|(d, _)| *d)?;
    (distance <= 2.max(wanted.chars().count() / 3)).then_some(best)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

/// One word of a command line, quoted for `sh` where it has to be.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, nearest, pieces, quoted, scalar};
    use serde_json::json;

    #[test]
    fn equal_numbers_have_equal_text() {
        let text = |value| scalar(&value).unwrap();
        assert_eq!(
            (text(json!(2e-4)), text(json!(0.0002))),
            ("2e-4".into(), "2e-4".into())
        );
        assert_eq!(
            (text(json!(0.1)), text(json!(0.0)), text(json!(1000.0))),
            ("0.1".into(), "0".into(), "1000".into())
        );
        assert_eq!(
            (text(json!(7)), text(json!(-3)), text(json!(true))),
            ("7".into(), "-3".into(), "true".into())
        );
    }

    #[test]
    fn references_are_found() {
        assert_eq!(pieces("a").unwrap(), [Piece::Text("a")]);
        assert_eq!(
            pieces("$prep/x").unwrap(),
            [Piece::Name("prep"), Piece::Text("/x")]
        );
        assert_eq!(
            pieces("${a}b$$").unwrap(),
            [Piece::Name("a"), Piece::Text("b"), Piece::Text("$")]
        );
        assert!(pieces("${a").is_err() && pieces("5 $").is_err());
    }

    #[test]
    fn a_typing_error_finds_its_flag() {
        assert_eq!(
            nearest("lrr", ["rank", "lr", "seed"].into_iter()),
            Some("lr")
        );
        assert_eq!(nearest("unrelated", ["rank", "lr"].into_iter()), None);
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(
            [quoted("a/b-c=1"), quoted("a b"), quoted("it's"), quoted("")],
            ["a/b-c=1", "'a b'", r"'it'\''s'", "''"]
        );
    }
}
