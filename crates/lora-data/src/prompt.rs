//! A chat that waits for its answer, as ids: what a generation starts from.
use crate::encode::{Encoder, join};
use crate::messages::{content, role};
use crate::refusal::Refusal;
use crate::template::Message;
use serde_json::Value;

impl Encoder {
    /// Ids of a chat up to where the next answer starts, written as the prompts of rows are.
    ///
    /// # Errors
    /// When the template refuses the chat, or when there is none and the chat is more than one question.
    pub fn prompt(&self, messages: &[Message], tools: Option<&Value>) -> Result<Vec<u32>, Refusal> {
        if let Some(template) = &self.template {
            let text = template
                .render(messages, tools, true)
                .map_err(Refusal::Template)?;
            return self.tokens.ids(&text);
        }
        let text = match messages {
            [user] => content(user).to_owned(),
            [system, user] if role(system) == "system" => {
                join(Some(content(system)), content(user))
            }
            _ => {
                let why = "the model has none; give one with --template".into();
                return Err(Refusal::Template(why));
            }
        };
        Ok(self.with_prefix(self.tokens.ids(&text)?))
    }
}
