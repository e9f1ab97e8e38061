//! A chat that waits for its answer, as ids: what a generation starts from.
use crate::chat::wants_text;
use crate::encode::{Encoder, join};
use crate::messages::{content, parse_calls, role};
use crate::refusal::Refusal;
use crate::special::SpecialInText;
use crate::template::{ChatTemplate, Message};
use serde_json::Value;

impl Encoder {
    /// Ids of a chat up to where the next answer starts, written as the prompts of rows are: control tokens in its texts are
    /// text, and arguments of calls that come as JSON text are what the template wants of them.
    ///
    /// # Errors
    /// When the template refuses the chat, or when there is none and the chat is more than one question; when arguments
    /// of a call are no JSON.
    pub fn prompt(&self, messages: &[Message], tools: Option<&Value>) -> Result<Vec<u32>, Refusal> {
        if let Some(template) = &self.template {
            let text = self.written_prompt(template, messages, tools)?;
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

    fn written_prompt(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        tools: Option<&Value>,
    ) -> Result<String, Refusal> {
        let mut as_text = messages.to_vec();
        for message in &mut as_text {
            self.specials.treat(message, SpecialInText::Escape)?;
        }
        let mut tools = tools.cloned();
        if let Some(tools) = &mut tools {
            let escape = SpecialInText::Escape;
            self.specials.treat_value(tools, escape, &mut None)?;
        }
        let render = |messages: &[Message]| {
            let text = template.render(messages, tools.as_ref(), true);
            text.map_err(Refusal::Template)
        };
        let mut parsed = as_text.clone();
        let mut has_text_arguments = false;
        for message in &mut parsed {
            has_text_arguments |= parse_calls(message)?;
        }
        let text = render(&parsed);
        match has_text_arguments && wants_text(&parsed, text.as_ref().map(String::as_str)) {
            true => render(&as_text),
            false => text,
        }
    }
}
