//! Methods of Python's strings that templates call and `minijinja-contrib` lacks.
use minijinja::value::{Value, from_args};
use minijinja::{Error, ErrorKind, State};

/// Digits that a width or precision may have.
const WIDTH_DIGITS: usize = 4;

/// A method of a value: Python's own first, then those of `minijinja-contrib`.
pub(crate) fn method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if method == "format" {
            check_widths(text)?;
        }
        match of_text(state, text, method, args) {
            Err(error) if error.kind() == ErrorKind::UnknownMethod => {}
            made => return made,
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

fn of_text(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let strip = |after: Option<&str>| Value::from(after.unwrap_or(text));
    Ok(match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            strip(text.strip_prefix(prefix))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            strip(text.strip_suffix(suffix))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.split_once(separator);
            list(match parts {
                Some((before, after)) => vec![before, separator, after],
                None => vec![text, "", ""],
            })
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.rsplit_once(separator);
            list(match parts {
                Some((before, after)) => vec![before, separator, after],
                None => vec!["", "", text],
            })
        }
        "rsplit" => {
            let (separator, most): (&str, Option<usize>) = from_args(args)?;
            let pieces = most.unwrap_or(usize::MAX - 1) + 1;
            let mut parts: Vec<&str> = text.rsplitn(pieces, separator).collect();
            parts.reverse();
            list(parts)
        }
        "index" => {
            let (part,): (&str,) = from_args(args)?;
            let at = text
                .find(part)
                .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "substring not found"))?;
            Value::from(text[..at].chars().count())
        }
        "casefold" => Value::from(text.to_lowercase()),
        "swapcase" => text
            .chars()
            .map(|c| match c.is_uppercase() {
                true => c.to_lowercase().collect::<String>(),
                false => c.to_uppercase().collect(),
            })
            .collect::<String>()
            .into(),
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let missing = missing(state, text, width)?;
            let (sign, digits) = match text.strip_prefix(['-', '+']) {
                Some(digits) => text.split_at(text.len() - digits.len()),
                None => ("", text),
            };
            format!("{sign}{}{digits}", "0".repeat(missing)).into()
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<&str>) = from_args(args)?;
            let missing = missing(state, text, width)?;
            let fill = fill.unwrap_or(" ");
            if fill.chars().count() != 1 {
                let what = "the fill character must be exactly one character long";
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            }
            let before = match method {
                "ljust" => 0,
                "rjust" => missing,
                _ => missing / 2 + (missing & width & 1),
            };
            let after = fill.repeat(missing - before);
            format!("{}{text}{after}", fill.repeat(before)).into()
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// Refuses formats of a width that no text has: they are filled before anything is paid for.
pub(crate) fn check_widths(format: &str) -> Result<(), Error> {
    let digits = format.split(|c: char| !c.is_ascii_digit());
    let is_wide = digits.map(str::len).max().unwrap_or(0) > WIDTH_DIGITS;
    match is_wide || format.contains(":{") || format.contains('*') {
        true => Err(Error::new(
            ErrorKind::InvalidOperation,
            "a format of such a width is not written",
        )),
        false => Ok(()),
    }
}

fn list(texts: Vec<&str>) -> Value {
    texts.into_iter().map(Value::from).collect()
}

/// Characters that a text lacks of a width, which are paid for before they are made.
fn missing(state: &State, text: &str, width: usize) -> Result<usize, Error> {
    let missing = width.saturating_sub(text.chars().count());
    state.consume_fuel(missing as u64 / 16)?;
    Ok(missing)
}
