//! What was done to a row that is kept, for people to know of.

/// Something that was done to a row; Display is what it is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Note {
    /// A control token of the model in the text of a message, kept as such.
    #[error("hold the control token {0} in their text, kept as such")]
    ControlKept(String),
    /// A control token of the model in the text of a message, written as text.
    #[error("hold the control token {0} in their text, tokenised as the characters that it is")]
    ControlEscaped(String),
    /// A completion or text that brings the end token itself.
    #[error("bring the end token {0} themselves: it is written once")]
    OwnEnd(String),
    /// Prompt and completion tokenised apart, since a token would span their border.
    #[error(
        "have a token across the border of prompt and completion: both are tokenised apart, as they are generated"
    )]
    Apart,
    /// Earlier answers that the template writes otherwise once the chat goes on.
    #[error(
        "have earlier answers that the chat template rewrites once the chat goes on: these are not learned"
    )]
    Rewritten,
    /// A system text that was put into the first message of the user.
    #[error("have their system text at the start of the first user message")]
    SystemIntoUser,
    /// Turns taken out at the start of a chat that was too long.
    #[error("lost their oldest turns to --max-length")]
    DroppedTurns,
    /// Tokens taken off the start of a row that was too long.
    #[error("lost their first tokens to --max-length")]
    CutLeft,
    /// Tokens taken off the end of a row that was too long.
    #[error("lost their last tokens to --max-length: they learn no end")]
    CutRight,
}
