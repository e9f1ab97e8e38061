//! Where the hub is, where its cache lies, and how patient we are.
use crate::error::{Result, refused};
use std::path::PathBuf;
use std::time::Duration;

/// The hub, unless another one is named.
pub const ENDPOINT: &str = "https://huggingface.co";

/// What stands for a person at the hub. It is shown nowhere.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token, without the space around it; none of an empty text. `origin` says in an error where it stands.
    ///
    /// # Errors
    /// When it holds what no token does: a header of its own, say.
    pub fn new(text: &str, origin: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > 1024 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused(
                format!("{origin} holds no token: a token is one word of letters and digits"),
                "copy it anew from the hub's settings page, Access Tokens",
            ));
        }
        Ok(Some(Self(text.to_owned())))
    }

    /// As a request has it.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// How often and how long something is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Attempts in a row that bring nothing.
    pub tries: u32,
    /// Pause after the first of them; each further one is twice as long.
    pub pause: Duration,
    /// A hub that asks for a longer pause than this is not waited for.
    pub longest: Duration,
    /// A connection that says nothing for so long is given up.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 5,
            pause: Duration::from_secs(1),
            longest: Duration::from_secs(90),
            silence: Duration::from_secs(30),
        }
    }
}

/// Where to ask, and where to keep.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that holds `models--OWNER--NAME`.
    pub cache: PathBuf,
    /// Where lists of files are kept by their commit; none keeps none.
    pub lists: Option<PathBuf>,
    /// `https://HOST` of the hub.
    pub endpoint: String,
    /// Whose name to ask in.
    pub token: Option<Token>,
    /// Asks nobody: what is in the cache is all there is.
    pub offline: bool,
    /// How often and how long something is tried.
    pub patience: Patience,
}
