//! How a chat becomes a row: written by the template, with the parts that are learned found by the template's own
//! prefixes: an answer is what follows the text that asks for it.
use crate::Conversation;
use crate::Example;
use crate::conversation::Learned;
use crate::encode::{Encoder, Text, example, join};
use crate::messages::{calls, content, role, turn};
use crate::note::Note;
use crate::python;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::special::SpecialInText;
use crate::template::{ChatTemplate, Message};
use crate::trace::Written;
use serde_json::{Map, Value};
use std::ops::Range;
use std::sync::PoisonError;

/// Shapes of chats that are kept in mind.
const SHAPES: usize = 10_000;

/// A chat as the template is given it.
struct Prepared<'a> {
    template: &'a ChatTemplate,
    messages: Vec<Message>,
    learned: Learned,
    tools: Option<Value>,
    arguments: &'a Map<String, Value>,
}

impl Prepared<'_> {
    fn render(&self, messages: usize, asks: bool) -> Result<String, Refusal> {
        self.template
            .render_with(
                &self.messages[..messages],
                self.tools.as_ref(),
                self.arguments,
                asks,
            )
            .map_err(Refusal::Template)
    }

    fn is_learned(&self, at: usize) -> bool {
        match &self.learned {
            Learned::From(start) => at >= *start,
            Learned::Messages(all) => all.contains(&at),
        }
    }

    fn written(&self) -> Written<'_> {
        Written {
            template: self.template,
            messages: &self.messages,
            tools: self.tools.as_ref(),
            arguments: self.arguments,
        }
    }
}

/// Whether a chat's text has the arguments of a call of this message as Python prints them, which is no JSON.
fn shows_python(message: &Message, text: &str) -> bool {
    let mut arguments = calls(message).iter().filter_map(|call| {
        let call = call.get("function").unwrap_or(call);
        call.get("arguments").filter(|all| all.is_object())
    });
    arguments.any(|all| {
        let printed = python::text(&python::value(all));
        printed.contains('\'') && text.contains(&printed)
    })
}

/// Whether a template wants the arguments of calls as the JSON text that they came as, by what it made of their values: it
/// refuses them, or writes them as Python does.
pub(crate) fn wants_text(messages: &[Message], written: Result<&str, &Refusal>) -> bool {
    match written {
        Err(Refusal::Template(_)) => true,
        Ok(text) => messages.iter().any(|one| shows_python(one, text)),
        Err(_) => false,
    }
}

impl Encoder {
    /// Writes, masks and tokenises a chat.
    pub(crate) fn chat(
        &self,
        record: &Record,
        chat: &Conversation,
        notes: &mut Vec<Note>,
    ) -> Result<Example, Refusal> {
        let (learned, length) = chat.learned(&self.rules.learn)?;
        let Some(template) = &self.template else {
            return self.chat_without_template(record, chat, (learned, length), notes);
        };
        if self.rules.tools_elsewhere && chat.tools.is_some() {
            return Err(Refusal::ToolTemplate);
        }
        let mut prepared = Prepared {
            template,
            messages: chat.messages[..length].to_vec(),
            learned,
            tools: chat.tools.clone(),
            arguments: &chat.arguments,
        };
        self.complete(&mut prepared.messages, &mut prepared.learned, notes);
        self.without_own_ends(&mut prepared, notes)?;
        self.treat_specials(&mut prepared, notes)?;
        let before = notes.len();
        let mut text = self.write(&prepared, notes);
        let written = text.as_ref().map(|text| text.text.as_str());
        if chat.has_text_arguments && wants_text(&prepared.messages, written) {
            let added = prepared.messages.len() - length;
            let with_text = prepared.messages.iter_mut().skip(added).zip(&chat.as_text);
            for (message, as_text) in with_text {
                if let Some(calls) = as_text.get("tool_calls") {
                    message.insert("tool_calls".to_owned(), calls.clone());
                }
            }
            notes.truncate(before);
            text = self.write(&prepared, notes);
        }
        let text = text?;
        if text.learned.iter().all(Range::is_empty) {
            return Err(Refusal::NothingSupervised);
        }
        self.check_trace(&prepared, &text.text)?;
        self.row(record, text, notes)
    }

    /// Puts the system text of the rules before a chat that has none, or that of either into the first message of the user.
    fn complete(&self, messages: &mut Vec<Message>, learned: &mut Learned, notes: &mut Vec<Note>) {
        let has_system = messages
            .first()
            .is_some_and(|first| role(first) == "system");
        if let Some(text) = self.rules.system.as_deref().filter(|_| !has_system) {
            messages.insert(0, turn("system", text));
            learned.shift_up();
        }
        let has_system = messages
            .first()
            .is_some_and(|first| role(first) == "system");
        if !self.rules.system_into_user || !has_system {
            return;
        }
        let first_user = messages.iter().position(|message| role(message) == "user");
        if let Some(user) = first_user {
            let joined = join(Some(content(&messages[0])), content(&messages[user]));
            messages[user].insert("content".to_owned(), joined.into());
            messages.remove(0);
            learned.shift_down();
            notes.push(Note::SystemIntoUser);
        }
    }

    /// Takes end tokens off answers that bring the one which the template writes behind them.
    fn without_own_ends(
        &self,
        chat: &mut Prepared<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<(), Refusal> {
        let Some(end) = &self.turn_end else {
            return Ok(());
        };
        for message in chat.messages.iter_mut().filter(|m| role(m) == "assistant") {
            let text = content(message).trim_end();
            let Some(text) = text.strip_suffix(end.as_str()) else {
                continue;
            };
            if text.trim().is_empty() {
                return Err(Refusal::EmptyCompletion);
            }
            let text = text.to_owned();
            message.insert("content".to_owned(), text.into());
            let note = Note::OwnEnd(end.clone());
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        Ok(())
    }

    /// Looks for control tokens in the messages.
    fn treat_specials(
        &self,
        chat: &mut Prepared<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<(), Refusal> {
        let policy = self.rules.special_in_text;
        let mut found = None;
        for message in &mut chat.messages {
            let one = self.specials.treat(message, policy)?;
            found = found.or(one);
        }
        if let Some(tools) = &mut chat.tools {
            self.specials.treat_value(tools, policy, &mut found)?;
        }
        notes.extend(found.map(|token| match policy {
            SpecialInText::Escape => Note::ControlEscaped(token),
            _ => Note::ControlKept(token),
        }));
        Ok(())
    }

    /// Writes a chat, and finds what of it is learned.
    fn write(&self, chat: &Prepared<'_>, notes: &mut Vec<Note>) -> Result<Text, Refusal> {
        if let Some(text) = self.write_marked(chat)? {
            return Ok(text);
        }
        let text = chat.render(chat.messages.len(), false)?;
        let mut learned = Vec::new();
        match &chat.learned {
            Learned::From(start) => {
                let before = chat.render(*start, true)?;
                if !text.starts_with(&before) {
                    return Err(Refusal::PromptRewritten);
                }
                learned.push(before.len()..text.len());
            }
            Learned::Messages(all) => {
                let (last, earlier) = all.split_last().ok_or(Refusal::NothingToLearn)?;
                let mut is_rewritten = false;
                for at in earlier {
                    match self.earlier(chat, *at, &text)? {
                        Some(span) => learned.push(span),
                        None => is_rewritten = true,
                    }
                }
                notes.extend(is_rewritten.then_some(Note::Rewritten));
                let before = chat.render(*last, role(&chat.messages[*last]) == "assistant")?;
                if !text.starts_with(&before) {
                    return Err(Refusal::PromptRewritten);
                }
                learned.push(before.len()..text.len());
            }
        }
        Ok(Text { text, learned })
    }

    /// The same by what the template itself says that the assistant wrote, if it says so for each of its messages.
    fn write_marked(&self, chat: &Prepared<'_>) -> Result<Option<Text>, Refusal> {
        let tools = chat.tools.as_ref();
        let marked = chat
            .template
            .render_marked(&chat.messages, tools, chat.arguments);
        let Some((text, spans)) = marked.map_err(Refusal::Template)? else {
            return Ok(None);
        };
        let is_answer = |at: &usize| role(&chat.messages[*at]) == "assistant";
        let answers: Vec<usize> = (0..chat.messages.len()).filter(is_answer).collect();
        let is_learned_elsewhere =
            (0..chat.messages.len()).any(|at| chat.is_learned(at) && !is_answer(&at));
        if answers.len() != spans.len() || is_learned_elsewhere {
            return Ok(None);
        }
        let spans = spans.into_iter().zip(answers);
        let learned: Vec<Range<usize>> = spans
            .filter(|(_, at)| chat.is_learned(*at))
            .map(|(span, _)| span)
            .collect();
        Ok(Some(Text { text, learned }))
    }

    /// Where an earlier message stands in a chat, if it stands there as it was written when it was the last.
    fn earlier(
        &self,
        chat: &Prepared<'_>,
        at: usize,
        text: &str,
    ) -> Result<Option<Range<usize>>, Refusal> {
        let before = chat.render(at, role(&chat.messages[at]) == "assistant")?;
        let after = chat.render(at + 1, false)?;
        let after = match self.specials.ending(after.trim_end()) {
            Some(_) => after.trim_end(),
            None => &after,
        };
        let is_there = after.starts_with(&before) && text.starts_with(after);
        Ok(is_there.then_some(before.len()..after.len()))
    }

    /// Refuses a chat of which the template leaves something out.
    fn check_trace(&self, chat: &Prepared<'_>, text: &str) -> Result<(), Refusal> {
        let written = chat.written();
        let is_learned = |at| chat.is_learned(at);
        let learned = (0..chat.messages.len()).map(|at| if is_learned(at) { '+' } else { '-' });
        let shape = written.shape() + &learned.collect::<String>();
        let known = {
            let shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
            shapes.get(&shape).copied()
        };
        let is_shown = known.unwrap_or_else(|| written.shows_marks(is_learned));
        if known.is_none() {
            let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
            if shapes.len() < SHAPES {
                shapes.insert(shape, is_shown);
            }
        }
        written.check(text, is_shown, is_learned)
    }

    /// Tokenises a chat, and puts the mask where the learned parts lie.
    fn row(&self, record: &Record, text: Text, notes: &mut Vec<Note>) -> Result<Example, Refusal> {
        let Text {
            mut text,
            mut learned,
        } = text;
        let Some(last) = learned.pop() else {
            return Err(Refusal::NothingToLearn);
        };
        text.truncate(last.end);
        let mut borders: Vec<usize> = learned
            .iter()
            .flat_map(|span| [span.start, span.end])
            .collect();
        borders.push(last.start);
        let made = match borders.len() {
            1 => self.tokens.with_borders(&text, &borders)?,
            _ => self.tokens.with_many_borders(&text, &borders)?,
        };
        notes.extend(made.apart.then_some(Note::Apart));
        let mut input_ids = made.ids;
        let last_start = made.borders[made.borders.len() - 1];
        let (ids, bytes) = self.end_of_turn(&input_ids[last_start..], &text[last.start..]);
        input_ids.truncate(last_start + ids);
        let end = last.start + bytes;
        if self.says_nothing(&text[last.start..end]) {
            return Err(Refusal::EmptyCompletion);
        }
        let first = learned.first().map_or(last.start, |span| span.start);
        let (prompt, completion) = (text[..first].to_owned(), text[first..end].to_owned());
        let mut row = example(record, input_ids, last_start, prompt, completion);
        for span in made.borders[..made.borders.len() - 1].chunks_exact(2) {
            for at in span[0]..span[1] {
                row.labels[at] = row.input_ids[at].cast_signed();
            }
        }
        Ok(row)
    }

    /// True for a completion of nothing but end tokens and white space.
    fn says_nothing(&self, completion: &str) -> bool {
        let mut rest = completion.trim();
        let ends = [self.turn_end.as_deref(), self.end_token()];
        while let Some(before) = ends.iter().flatten().find_map(|end| rest.strip_suffix(end)) {
            rest = before.trim_end();
        }
        rest.is_empty() && !completion.is_empty()
    }

    /// Where the answer's turn ends, in ids and in bytes: after the last special token, if only white space follows it.
    /// Templates often write a newline there; a generation never reaches it, so it is no part of the row.
    fn end_of_turn(&self, ids: &[u32], text: &str) -> (usize, usize) {
        let whole = (ids.len(), text.len());
        let Some(last) = ids.iter().rposition(|id| self.specials.contains(*id)) else {
            return whole;
        };
        let Some(token) = self.tokens.text_of(ids[last]) else {
            return whole;
        };
        match text.rfind(&token).map(|at| at + token.len()) {
            Some(end) if text[end..].trim().is_empty() => (last + 1, end),
            _ => whole,
        }
    }

    /// A chat for a model that has no template: only one question and one answer can be written without one.
    fn chat_without_template(
        &self,
        record: &Record,
        chat: &Conversation,
        (learned, length): (Learned, usize),
        notes: &mut Vec<Note>,
    ) -> Result<Example, Refusal> {
        let messages = &chat.messages[..length];
        let start = match learned {
            Learned::From(start) => start,
            Learned::Messages(all) => all.first().copied().unwrap_or(length),
        };
        let none = || Refusal::Template("the model has none; give one with --template".into());
        if messages.len() != start + 1 || chat.tools.is_some() || !messages.iter().all(is_text) {
            return Err(none());
        }
        let prompt = match &messages[..start] {
            [user] => join(self.rules.system.as_deref(), content(user)),
            [system, user] if role(system) == "system" => {
                join(Some(content(system)), content(user))
            }
            _ => return Err(none()),
        };
        self.plain(record, &prompt, content(&messages[start]), notes)
    }
}

/// True for a message that is its text alone.
fn is_text(message: &Message) -> bool {
    crate::messages::calls(message).is_empty()
        && crate::reasoning::KEYS
            .iter()
            .all(|key| !message.contains_key(*key))
}
