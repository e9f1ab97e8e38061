//! The messages of one chat, and which of them are learned.
use crate::messages::{is_empty, role};
use crate::refusal::Refusal;
use crate::roles::ROLES;
use crate::template::Message;
use serde_json::{Map, Value};
use std::str::FromStr;

/// The messages of one chat with what its row says about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// All messages in order.
    pub messages: Vec<Message>,
    /// For each message whether it is to be learned, where the row says so (`weight`, `train`, `loss`).
    pub marks: Vec<Option<bool>>,
    /// The first message of the completion, where the row holds prompt and completion apart.
    pub completion: Option<usize>,
    /// Tools offered to the model, passed to the template as they are.
    pub tools: Option<Value>,
    /// More of what the template is given (`chat_template_kwargs`).
    pub arguments: Map<String, Value>,
    /// The messages with the arguments of calls as the JSON text that they came as: some templates want it so.
    pub as_text: Vec<Message>,
    /// True if there are such arguments.
    pub has_text_arguments: bool,
}

/// Which messages of a chat are learned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Learn {
    /// All answers of a chat; of a row that holds prompt and completion apart, the completion.
    #[default]
    Answers,
    /// The last answer.
    Last,
    /// All answers, also those that stand in a prompt.
    All,
    /// All messages of these roles.
    Roles(Vec<String>),
}

impl FromStr for Learn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => return Ok(Self::Last),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let roles: Vec<String> = text.split(',').map(|role| role.trim().to_owned()).collect();
        match roles.iter().find(|role| !ROLES.contains(&role.as_str())) {
            None => Ok(Self::Roles(roles)),
            Some(other) => Err(format!(
                "'{other}' is neither last, all, nor a role ({})",
                ROLES.join(", ")
            )),
        }
    }
}

/// What of a chat is learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Learned {
    /// Everything from a message on.
    From(usize),
    /// These messages, in order; never none.
    Messages(Vec<usize>),
}

impl Learned {
    /// A message was put before all others.
    pub(crate) fn shift_up(&mut self) {
        match self {
            Self::From(start) => *start += 1,
            Self::Messages(all) => all.iter_mut().for_each(|at| *at += 1),
        }
    }

    /// The first message was taken out.
    pub(crate) fn shift_down(&mut self) {
        match self {
            Self::From(start) => *start -= 1,
            Self::Messages(all) => all.iter_mut().for_each(|at| *at -= 1),
        }
    }
}

impl Conversation {
    /// A chat whose last message is its completion.
    pub(crate) fn of_completion(messages: Vec<Message>) -> Self {
        Self {
            marks: vec![None; messages.len()],
            completion: Some(messages.len() - 1),
            as_text: messages.clone(),
            messages,
            ..Self::default()
        }
    }

    pub(crate) fn insert(&mut self, at: usize, message: Message) {
        self.messages.insert(at, message.clone());
        self.as_text.insert(at, message);
        self.marks.insert(at, None);
        self.completion = self
            .completion
            .map(|start| start + usize::from(start >= at));
    }

    /// What is learned, and how many messages the row has up to there: what follows is not needed.
    pub(crate) fn learned(&self, learn: &Learn) -> Result<(Learned, usize), Refusal> {
        let last_answer = self
            .messages
            .iter()
            .rposition(|message| role(message) == "assistant");
        let last_answer = last_answer.ok_or(Refusal::NoAssistant)?;
        let is_marked = self.marks.iter().any(Option::is_some);
        if let (Some(start), Learn::Answers, false) = (self.completion, learn, is_marked) {
            return Ok((Learned::From(start), last_answer + 1));
        }
        let from = self
            .completion
            .filter(|_| *learn == Learn::Answers)
            .unwrap_or(0);
        let is_of_role = |message: &Message| match learn {
            Learn::Roles(roles) => roles.iter().any(|one| one == role(message)),
            _ => role(message) == "assistant",
        };
        let mut learned: Vec<usize> = (from.max(1)..self.messages.len())
            .filter(|&at| self.marks[at].unwrap_or_else(|| is_of_role(&self.messages[at])))
            .filter(|&at| !is_empty(&self.messages[at]))
            .collect();
        if *learn == Learn::Last {
            learned.drain(..learned.len().saturating_sub(1));
        }
        match learned.last() {
            Some(&last) => Ok((Learned::Messages(learned), last + 1)),
            None => Err(Refusal::NothingToLearn),
        }
    }
}
