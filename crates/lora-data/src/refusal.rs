//! Why a row that can be read can't be used. Refused rows are counted by reason, never dropped in silence.

/// Why a row was refused; Display is the reason under which it is counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A value that must be text is something else.
    #[error("'{0}' is not text")]
    NotText(&'static str),
    /// A value that must be a list of messages is something else.
    #[error("'{0}' is not a list of messages")]
    NotMessages(&'static str),
    /// A role other than system, user, assistant, tool, developer.
    #[error("a message has an unknown role")]
    UnknownRole,
    /// A chat without an answer to learn.
    #[error("no assistant message to learn")]
    NoAssistant,
    /// Nothing is asked.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// Nothing to learn.
    #[error("the completion is empty")]
    EmptyCompletion,
    /// Over the length limit (in tokens).
    #[error("longer than --max-length {0}")]
    TooLong(usize),
    /// The same prompt and completion stood further up.
    #[error("duplicate of an earlier row")]
    Duplicate,
    /// The chat template refused or failed.
    #[error("the chat template refuses it: {0}")]
    Template(String),
    /// The template writes the prompt in another way once the answer is there.
    #[error("the chat template rewrites the prompt when the answer follows")]
    PromptRewritten,
    /// A token spans the border between prompt and completion.
    #[error("prompt and completion share a token")]
    SharedToken,
    /// The tokenizer failed.
    #[error("the tokenizer refuses it: {0}")]
    Tokenizer(String),
    /// Nothing that could enter the loss.
    #[error("no token is supervised")]
    NothingSupervised,
}
