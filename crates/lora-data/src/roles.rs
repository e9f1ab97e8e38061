//! Who speaks: the spellings of roles that data sets have, as the five that chat templates know.
use crate::refusal::Refusal;

/// The roles that chat templates know.
pub(crate) const ROLES: [&str; 5] = ["system", "user", "assistant", "tool", "developer"];

/// A spelling that a data set has, and what it stands for.
const SPELLINGS: &[(&str, Speaker)] = &[
    ("human", Speaker::Role("user")),
    ("prompter", Speaker::Role("user")),
    ("gpt", Speaker::Role("assistant")),
    ("chatgpt", Speaker::Role("assistant")),
    ("model", Speaker::Role("assistant")),
    ("ai", Speaker::Role("assistant")),
    ("observation", Speaker::Role("tool")),
    ("function_response", Speaker::Role("tool")),
    ("tool_response", Speaker::Role("tool")),
    ("function", Speaker::Role("tool")),
    ("ipython", Speaker::Role("tool")),
    ("function_call", Speaker::Call),
    ("tool_call", Speaker::Call),
];

/// Who a message is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// One of [`ROLES`].
    Role(&'static str),
    /// The assistant, whose text is a call of a function as JSON.
    Call,
}

/// Reads a role in any case and spelling.
pub(crate) fn speaker(name: &str) -> Result<Speaker, Refusal> {
    let plain = name.trim().to_lowercase().replace('-', "_");
    if let Some(role) = ROLES.into_iter().find(|role| *role == plain) {
        return Ok(Speaker::Role(role));
    }
    SPELLINGS
        .iter()
        .find(|(spelling, _)| *spelling == plain)
        .map(|(_, speaker)| *speaker)
        .ok_or_else(|| Refusal::UnknownRole(name.to_owned()))
}
