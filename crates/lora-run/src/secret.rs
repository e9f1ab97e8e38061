//! Values that are told to a step and to nobody else: tokens, passwords, keys. They stand in no lock, receipt, note or log.
use std::sync::OnceLock;

/// What stands in a secret's place.
pub(crate) const HIDDEN: &str = "(secret)";

/// Shorter values are hidden where they are named, and not wherever they happen to occur.
const SHORTEST: usize = 6;

/// True for a name that is given to secrets.
pub(crate) fn is_secret(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "secret",
        "password",
        "passwd",
        "passphrase",
        "credential",
        "api_key",
        "apikey",
        "access_key",
        "private_key",
    ];
    let name = name.to_lowercase().replace('-', "_");
    // `token` alone would be `max_new_tokens`, too.
    let is_token = name == "token" || name.ends_with("_token") || name.starts_with("token_");
    is_token || NAMES.iter().any(|known| name.contains(known))
}

/// The text without a step's secrets, whatever the environment holds: for what is compared later.
pub(crate) fn hide_named(text: &str, secrets: &[String]) -> String {
    without(text, secrets.iter())
}

/// The text without the secrets of a step and of the environment: for what is read by people.
pub(crate) fn hide(text: &str, secrets: &[String]) -> String {
    without(text, secrets.iter().chain(of_the_environment()))
}

fn without<'s>(text: &str, secrets: impl Iterator<Item = &'s String>) -> String {
    let mut hidden = text.to_owned();
    for secret in secrets {
        if secret.len() >= SHORTEST && hidden.contains(secret.as_str()) {
            hidden = hidden.replace(secret.as_str(), HIDDEN);
        }
    }
    hidden
}

/// Secrets that a step inherits: a line that prints its commands would print them.
fn of_the_environment() -> &'static [String] {
    static FOUND: OnceLock<Vec<String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let variables = std::env::vars_os();
        let secret = variables.filter(|(name, _)| is_secret(&name.to_string_lossy()));
        secret
            .filter_map(|(_, value)| value.into_string().ok())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::{hide, is_secret};

    #[test]
    fn secrets_are_known_by_their_names_and_hidden_wherever_they_stand() {
        for name in [
            "token",
            "HF_TOKEN",
            "hf-token",
            "api-key",
            "db_password",
            "client_secret",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "max-new-tokens",
            "batch-tokens",
            "tokens",
            "tokenizer",
            "key",
            "lr",
        ] {
            assert!(!is_secret(name), "{name}");
        }
        let secrets = ["s3cr3t-value".to_owned(), "ab".to_owned()];
        assert_eq!(hide("-H s3cr3t-value; cab", &secrets), "-H (secret); cab");
    }
}
