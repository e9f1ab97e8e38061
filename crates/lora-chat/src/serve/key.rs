//! The key that requests bring.
use lora_cli::{Context as _, Error, Foreign as _, Result};
use std::path::Path;
use subtle::ConstantTimeEq as _;

/// Where a key may stand in the environment.
pub(crate) const VARIABLE: &str = "LORA_CHAT_API_KEY";

/// Shorter ones are guessed.
const SHORTEST: usize = 16;

/// A key. It is never printed.
pub(crate) struct Key(String);

impl Key {
    /// True if a request's `Authorization` brings this key; takes as long for any key of its length.
    pub(crate) fn opens(&self, authorization: Option<&[u8]>) -> bool {
        let bearer = authorization.and_then(|given| {
            let (scheme, key) = given.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
        });
        bearer.is_some_and(|key| key.trim_ascii().ct_eq(self.0.as_bytes()).into())
    }
}

/// The key of the file, or else of the environment.
pub(crate) fn load(file: Option<&Path>) -> Result<Option<Key>> {
    let (place, text) = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file).foreign();
            let place = file.display().to_string();
            (
                place.clone(),
                text.context(|| format!("failed to read {place}"))?,
            )
        }
        None => match lora_cli::environment(VARIABLE)? {
            Some(text) => (VARIABLE.to_owned(), text),
            None => return Ok(None),
        },
    };
    let key = text.trim();
    let is_plain = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.len() < SHORTEST || !is_plain {
        return Err(Error::new(format!(
            "{place} holds no key of at least {SHORTEST} printable ASCII characters without spaces"
        ))
        .hint("make one: head -c 24 /dev/urandom | base64 > FILE"));
    }
    Ok(Some(Key(key.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_opens() {
        let key = Key("0123456789abcdef".to_owned());
        for (given, opens) in [
            (Some("Bearer 0123456789abcdef"), true),
            (Some("bearer 0123456789abcdef "), true),
            (Some("Bearer 0123456789abcdeF"), false),
            (Some("Bearer 0123456789abcde"), false),
            (Some("Bearer "), false),
            (Some("Basic 0123456789abcdef"), false),
            (Some("0123456789abcdef"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(key.opens(given.map(str::as_bytes)), opens, "{given:?}");
        }
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        for (text, is_key) in [
            ("0123456789abcdef\n", true),
            ("", false),
            ("short\n", false),
            ("0123456789 abcdef", false),
            ("0123456789abcdeé", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(load(Some(&file)).is_ok(), is_key, "{text:?}");
        }
    }
}
