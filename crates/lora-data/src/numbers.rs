//! JSON whose numbers keep their digits: floats are read to the last bit (serde_json's quick way may miss it), and an
//! integer that 64 bits don't hold, which would become a float, is an error.
use serde_json::{Number, Value};
use std::borrow::Cow;
use std::ops::Range;

/// What stands before a float that is read to the last bit, as a text: a code point that no text has.
const MARK: char = '\u{FDD4}';

/// Digits up to which serde_json's quick way is exact.
const EASY_DIGITS: usize = 15;

/// Why a text gave no value.
pub(crate) enum Fault {
    /// It is no JSON.
    Json(serde_json::Error),
    /// An integer beyond 64 bits.
    TooLarge(String),
}

/// Reads one JSON value.
pub(crate) fn parse(text: &str) -> Result<Value, Fault> {
    let marked = marked(text)?;
    let mut value = serde_json::from_str(&marked).map_err(|error| match &marked {
        Cow::Borrowed(_) => Fault::Json(error),
        // The place is that of the text as it came.
        Cow::Owned(_) => match serde_json::from_str::<Value>(text) {
            Err(error) => Fault::Json(error),
            Ok(_) => Fault::Json(error),
        },
    })?;
    if matches!(marked, Cow::Owned(_)) {
        unmark(&mut value);
    }
    Ok(value)
}

/// The text with hard floats as marked texts.
fn marked(text: &str) -> Result<Cow<'_, str>, Fault> {
    let mut out = String::new();
    let mut done = 0;
    for span in numbers(text) {
        let word = &text[span.clone()];
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        if digits <= EASY_DIGITS && !word.contains(['e', 'E']) {
            continue;
        }
        if word
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
        {
            let is_held = word.parse::<i64>().is_ok() || word.parse::<u64>().is_ok();
            if digits > EASY_DIGITS && !is_held {
                return Err(Fault::TooLarge(word.to_owned()));
            }
        } else if word.parse::<f64>().is_ok_and(f64::is_finite) && is_json_number(word) {
            out.push_str(&text[done..span.start]);
            out.extend(['"', MARK]);
            out.push_str(word);
            out.push('"');
            done = span.end;
        }
    }
    if done == 0 {
        return Ok(Cow::Borrowed(text));
    }
    out.push_str(&text[done..]);
    Ok(Cow::Owned(out))
}

/// True for what JSON allows as a number, of which Rust's parser takes more (`1.`, `.5`, `+1`).
fn is_json_number(word: &str) -> bool {
    serde_json::from_str::<Number>(word).is_ok()
}

fn unmark(value: &mut Value) {
    match value {
        Value::String(text) => {
            let float = text.strip_prefix(MARK).and_then(|word| word.parse().ok());
            if let Some(number) = float.and_then(Number::from_f64) {
                *value = Value::Number(number);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unmark),
        Value::Object(map) => map.values_mut().for_each(unmark),
        _ => {}
    }
}

/// Where numbers stand in a JSON text: words of their characters outside of strings.
fn numbers(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            match bytes[at] {
                b'"' => at = end_of_string(bytes, at + 1),
                b'0'..=b'9' | b'-' => {
                    let is_of_number =
                        |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    let length = bytes[at..].iter().take_while(is_of_number).count();
                    at += length;
                    return Some(at - length..at);
                }
                _ => at += 1,
            }
        }
        None
    })
}

/// The byte behind a string's closing quote.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_beyond_64_bits_are_named_and_floats_are_not() {
        let refused = |text: &str| match parse(text) {
            Err(Fault::TooLarge(integer)) => integer,
            _ => String::new(),
        };
        let large = "123456789012345678901234567890";
        assert_eq!(refused(&format!("{{\"a\": [1, {large}]}}")), large);
        assert_eq!(refused(&format!("-{large}")), format!("-{large}"));
        let fine = [
            format!("\"\\\" {large}\""),
            format!("[{large}.0, 1e300, {}, {}]", u64::MAX, i64::MIN),
            format!("{{\"{large}\": 1e30}}"),
        ];
        for text in fine {
            assert_eq!(refused(&text), "", "{text}");
        }
    }

    /// Every float comes back as the nearest one to its digits, which is what Rust's own parser gives.
    #[test]
    fn floats_are_read_to_the_last_bit() {
        let mut state = 7u64;
        for _ in 0..2000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let float = f64::from_bits(state);
            if float.is_finite() {
                for word in [format!("{float:e}"), format!("{float}")] {
                    let exact: f64 = word.parse().unwrap();
                    let Ok(Value::Array(read)) = parse(&format!("[\"{word}\", {word}]")) else {
                        continue; // an integer beyond 64 bits
                    };
                    assert_eq!(read[0], Value::String(word.clone()));
                    assert_eq!(
                        read[1].as_f64().map(f64::to_bits),
                        Some(exact.to_bits()),
                        "{word}"
                    );
                }
            }
        }
        for text in [
            "1e999",
            "1.0e",
            "[01.2345678901234567]",
            "[1.e10]",
            "-",
            "1-1e5",
        ] {
            assert!(matches!(parse(text), Err(Fault::Json(_))), "{text}");
        }
    }
}
