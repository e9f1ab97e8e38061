//! An answer: the chat is written, continued token by token, and its text handed on as it comes.
use crate::Args;
use crate::voices::{Voice, message};
use lora_cli::{Error, Result, Ui};
use lora_data::Message;
use lora_model::{Decoding, Generate, Sampling};
use serde_json::Value;
use std::ops::ControlFlow;

/// What speaks, and how.
pub(crate) struct Speaker<'s> {
    pub(crate) route: &'s mut dyn Generate,
    pub(crate) voices: &'s [Voice],
    /// Ids that end an answer.
    pub(crate) stop: Vec<u32>,
    /// Tokens that the model was made for.
    pub(crate) context: usize,
    pub(crate) args: &'s Args,
    pub(crate) ui: &'s Ui,
}

/// A chat that waits for its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Option<Value>,
}

/// An answer, and why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) tokens: usize,
    pub(crate) end: End,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The model ended it, or a stop text did.
    Stop,
    /// It had no more tokens.
    Length,
    /// The person stopped it.
    Stopped,
}

impl End {
    /// As the chat-completions protocol names it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Stopped => "stopped",
        }
    }
}

impl Speaker<'_> {
    /// Answers several chats together; `show` sees each chat's number and new text as it comes.
    pub(crate) fn answer(
        &mut self,
        voice: usize,
        questions: &[Question],
        show: &mut (dyn FnMut(usize, &str) + Send),
    ) -> Result<Vec<Answer>> {
        let voice = &self.voices[voice];
        let prompts = questions
            .iter()
            .map(|question| self.prompt(voice, question));
        let prompts: Vec<Vec<u32>> = prompts.collect::<Result<_>>()?;
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let flags = &self.args.sampling;
        let stream = |prompt: &&[u32]| {
            let ids: Vec<String> = prompt.iter().map(u32::to_string).collect();
            Sampling::stream(flags.seed, &ids.join(" "))
        };
        let streams: Vec<_> = prompts.iter().map(stream).collect();
        let how = Decoding {
            max_new_tokens: self.args.max_new_tokens,
            stop: &self.stop,
            sampling: Sampling {
                temperature: flags.temperature,
                top_k: flags.top_k,
                top_p: flags.top_p,
                min_p: flags.min_p,
                repetition_penalty: flags.repetition_penalty,
            },
            streams: &streams,
        };
        let mut texts = vec![Growing::default(); prompts.len()];
        let mut failed = None;
        let ui = self.ui;
        let mut watch = |number: usize, ids: &[u32]| {
            let text = match voice.encoder.decode(ids) {
                Ok(text) => text,
                Err(error) => {
                    failed = Some(error.to_string());
                    return ControlFlow::Break(());
                }
            };
            let is_over =
                texts[number].grow(text, ids.len(), &flags.stop, &mut |new| show(number, new));
            if is_over || ui.interrupted_by().is_some() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        self.route
            .decode(voice.adapter.as_ref(), &prompts, &how, &mut watch)?;
        if let Some(error) = failed {
            return Err(Error::new(format!("failed to decode an answer: {error}")));
        }
        let is_stopped = ui.interrupted_by().is_some();
        let most = self.args.max_new_tokens;
        let of = |(number, growing): (usize, Growing)| {
            growing.finish(most, is_stopped, &mut |new| show(number, new))
        };
        Ok(texts.into_iter().enumerate().map(of).collect())
    }

    /// The ids of a chat up to where the answer starts.
    fn prompt(&self, voice: &Voice, question: &Question) -> Result<Vec<u32>> {
        let has_system = question
            .messages
            .first()
            .is_some_and(|first| first.get("role") == Some(&"system".into()));
        let system = voice.system.as_deref().filter(|_| !has_system);
        let system = system.map(|text| message("system", text));
        let messages: Vec<Message> = system
            .into_iter()
            .chain(question.messages.iter().cloned())
            .collect();
        let ids = voice
            .encoder
            .prompt(&messages, question.tools.as_ref())
            .map_err(|refusal| {
                Error::new(format!("{}: {refusal}", voice.name))
                    .hint("the model's chat template can't write this chat")
            })?;
        if ids.is_empty() {
            return Err(Error::new("the prompt is empty").hint("say something"));
        }
        if ids.len() >= self.context {
            return Err(Error::new(format!(
                "the chat has {} tokens, and the model was made for {}",
                ids.len(),
                self.context
            ))
            .hint("start again with a shorter one (/reset at a terminal)"));
        }
        Ok(ids)
    }
}

/// A text that grows token by token; what may still change is held back.
#[derive(Debug, Clone, Default)]
struct Growing {
    text: String,
    shown: usize,
    tokens: usize,
    is_ended: bool,
}

impl Growing {
    /// Takes the text so far and hands on what is certain of it; true if a stop text ended it.
    fn grow(
        &mut self,
        text: String,
        tokens: usize,
        stop: &[String],
        show: &mut dyn FnMut(&str),
    ) -> bool {
        self.text = text;
        self.tokens = tokens;
        if let Some(end) = stop.iter().filter_map(|stop| self.text.find(stop)).min() {
            self.text.truncate(end);
            self.is_ended = true;
        } else {
            let certain = certain(&self.text, stop);
            self.show(certain, show);
        }
        self.is_ended
    }

    fn show(&mut self, end: usize, show: &mut dyn FnMut(&str)) {
        if let Some(new) = self.text.get(self.shown..end).filter(|new| !new.is_empty()) {
            show(new);
            self.shown = end;
        }
    }

    fn finish(mut self, most: usize, is_stopped: bool, show: &mut dyn FnMut(&str)) -> Answer {
        self.show(self.text.len(), show);
        let end = match (self.is_ended, is_stopped, self.tokens >= most) {
            (true, _, _) => End::Stop,
            (_, true, _) => End::Stopped,
            (_, _, true) => End::Length,
            _ => End::Stop,
        };
        Answer {
            text: self.text.trim().to_owned(),
            tokens: self.tokens,
            end,
        }
    }
}

/// Bytes of a text that no further token changes: without half a character at its end, and without what may be the start
/// of a stop text.
fn certain(text: &str, stop: &[String]) -> usize {
    let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
    let is_start = |at: &usize| {
        text.is_char_boundary(*at) && stop.iter().any(|stop| stop.starts_with(&text[*at..whole]))
    };
    let longest = stop.iter().map(String::len).max().unwrap_or(0);
    let from = whole.saturating_sub(longest);
    (from..whole).find(is_start).unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(parts: &[&str], stop: &[&str]) -> (Vec<String>, Answer) {
        let stop: Vec<String> = stop.iter().map(|text| (*text).to_owned()).collect();
        let mut growing = Growing::default();
        let mut shown = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            if growing.grow((*part).to_owned(), at + 1, &stop, &mut |new| {
                shown.push(new.to_owned())
            }) {
                break;
            }
        }
        let answer = growing.finish(10, false, &mut |new| shown.push(new.to_owned()));
        (shown, answer)
    }

    #[test]
    fn half_a_character_is_held_back() {
        let (parts, answer) = shown(&["a", "a\u{fffd}", "aé", "aé."], &[]);
        assert_eq!(
            (parts.concat().as_str(), answer.text.as_str()),
            ("aé.", "aé.")
        );
        assert_eq!(parts, ["a", "é", "."]);
    }

    #[test]
    fn the_start_of_a_stop_text_is_held_back_and_the_stop_is_never_shown() {
        let (parts, answer) = shown(&["yes", "yes\n", "yes\n\n", "no"], &["\n\n"]);
        assert_eq!(
            (parts, answer.text.as_str(), answer.end),
            (vec!["yes".to_owned()], "yes", End::Stop)
        );
        let (parts, answer) = shown(&["yes\n", "yes\nno"], &["\n\n"]);
        assert_eq!((parts.concat(), answer.tokens), ("yes\nno".to_owned(), 2));
    }

    #[test]
    fn an_answer_says_why_it_ended() {
        let mut growing = Growing::default();
        growing.grow("abc".to_owned(), 3, &[], &mut |_| {});
        assert_eq!(
            growing.clone().finish(3, false, &mut |_| {}).end,
            End::Length
        );
        assert_eq!(
            growing.clone().finish(9, true, &mut |_| {}).end,
            End::Stopped
        );
        assert_eq!(growing.finish(9, false, &mut |_| {}).end, End::Stop);
    }
}
