//! Why a row that can be read can't be used. Refused rows are counted by reason, never dropped in silence.
use crate::error::Mistake;
use crate::numbers::Fault as NumberFault;

/// Why a row was refused; Display is the reason under which it is counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A value that must be text is something else.
    #[error("'{0}' is not text")]
    NotText(&'static str),
    /// A value that must be a list of messages is something else.
    #[error("'{0}' is not a list of messages")]
    NotMessages(&'static str),
    /// A key that makes another thing of the row than its layout says, and what.
    #[error("'{0}' is {1}")]
    Key(String, String),
    /// A role that is none of system, user, assistant, tool, developer, nor another spelling of one.
    #[error("unknown role {0:?}")]
    UnknownRole(String),
    /// A part of a message that is no text.
    #[error("a message holds a part of type '{0}': only text is learned")]
    Part(String),
    /// A message's weight that is neither 0 nor 1.
    #[error("a message's '{0}' is {1}: it is learned (1, true) or not (0, false)")]
    Weight(&'static str, String),
    /// A call of a tool without a name, or whose arguments are no JSON object.
    #[error("a call of a tool is not a name with arguments (a JSON object)")]
    NotCall,
    /// Tools that are no list of objects.
    #[error("'tools' is not a list of tools")]
    NotTools,
    /// JSON text inside a row that can't be read.
    #[error("'{0}' is not the JSON text of one value")]
    NotJson(&'static str),
    /// An integer that 64 bits don't hold.
    #[error("the number {0} is beyond 64 bits and would lose digits: write it as text")]
    LargeNumber(String),
    /// Two system texts for one chat.
    #[error("'system' stands beside a system message of another text")]
    TwoSystems,
    /// A chat without an answer to learn.
    #[error("no assistant message to learn")]
    NoAssistant,
    /// All answers are marked as not to be learned, or `--learn` leaves none.
    #[error("no message of it is to be learned")]
    NothingToLearn,
    /// Nothing is asked.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// Nothing to learn.
    #[error("the completion is empty")]
    EmptyCompletion,
    /// The model has a template of its own for chats that offer tools.
    #[error("it offers tools, for which the base has the chat template 'tool_use'")]
    ToolTemplate,
    /// Something that the template doesn't write.
    #[error("the chat template leaves out {0}")]
    LeftOut(String),
    /// A control token of the model inside a message.
    #[error("a message holds the control token {0}")]
    ControlToken(String),
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
    /// A token spans the border between prompt and completion, and tokenised apart they are another text.
    #[error("prompt and completion share a token")]
    SharedToken,
    /// The tokenizer failed.
    #[error("the tokenizer refuses it: {0}")]
    Tokenizer(String),
    /// Nothing that could enter the loss.
    #[error("no token is supervised")]
    NothingSupervised,
}

impl Refusal {
    /// JSON text under a key that can't be read.
    pub(crate) fn of_number(fault: NumberFault, key: &'static str) -> Self {
        match fault {
            NumberFault::TooLarge(number) => Self::LargeNumber(number),
            NumberFault::Json(_) if key == "arguments" => Self::NotCall,
            NumberFault::Json(_) => Self::NotJson(key),
        }
    }
}

/// Why a row gave no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is no object, or has none of the known keys; the file is not what it should be.
    Shape(Mistake),
    /// It has the keys, but can't be used: to be counted.
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
