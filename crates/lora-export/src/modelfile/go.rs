//! Go's text/template, as far as Ollama's chat templates need it here: a small evaluator, so that what was written can be
//! checked against the model's template.
use std::collections::BTreeMap;

/// A message, as Ollama has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) role: &'a str,
    pub(crate) content: &'a str,
    pub(crate) thinking: &'a str,
}

/// What Ollama renders a template with.
#[derive(Debug, Clone)]
pub(crate) struct Chat<'a> {
    pub(crate) system: &'a str,
    pub(crate) messages: Vec<Said<'a>>,
    /// Whether there is to be thought, if anybody says so.
    pub(crate) think: Option<bool>,
}

/// Renders a template of the kind that [`write`] makes; the error says what it does not know.
pub(crate) fn render(
    template: &str,
    system: &str,
    messages: &[(&str, &str)],
) -> Result<String, String> {
    let said = |&(role, content)| Said {
        role,
        content,
        thinking: "",
    };
    let chat = Chat {
        system,
        messages: messages.iter().map(said).collect(),
        think: None,
    };
    render_chat(template, &chat)
}

/// The same of a chat with thoughts.
pub(crate) fn render_chat(template: &str, chat: &Chat<'_>) -> Result<String, String> {
    let pieces = split(template)?;
    let mut state = State {
        chat,
        dot: None,
        variables: BTreeMap::new(),
        out: String::new(),
    };
    match state.run(&pieces, 0, true)? {
        end if end == pieces.len() => Ok(state.out),
        _ => Err("an end too many".to_owned()),
    }
}

/// Text, or the words of an action.
enum Piece {
    Text(String),
    Action(Vec<String>),
}

fn split(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once("{{") {
        pieces.push(Piece::Text(text.to_owned()));
        let (words, after) = words(after)?;
        pieces.push(Piece::Action(words));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// The words of an action up to its `}}`; a string keeps its quotation mark in front, without escapes.
fn words(text: &str) -> Result<(Vec<String>, &str), String> {
    let mut words: Vec<String> = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '}' if text[at..].starts_with("}}") => return Ok((words, &text[at + 2..])),
            '"' => words.push(string(&mut chars)?),
            '(' | ')' => words.push(c.to_string()),
            ' ' => {}
            _ => {
                let mut word = c.to_string();
                while let Some((_, next)) =
                    chars.next_if(|(_, next)| !matches!(next, ' ' | '(' | ')' | '}' | '"'))
                {
                    word.push(next);
                }
                words.push(word);
            }
        }
    }
    Err("an action without its end".to_owned())
}

fn string(chars: &mut impl Iterator<Item = (usize, char)>) -> Result<String, String> {
    let mut word = "\"".to_owned();
    while let Some((_, c)) = chars.next() {
        match c {
            '"' => return Ok(word),
            '\\' => match chars.next() {
                Some((_, 'n')) => word.push('\n'),
                Some((_, 'r')) => word.push('\r'),
                Some((_, c @ ('"' | '\\'))) => word.push(c),
                Some((_, 'U')) => word.push(code(chars)?),
                _ => return Err("an unknown escape".to_owned()),
            },
            c => word.push(c),
        }
    }
    Err("a string without its end".to_owned())
}

/// A character by its eight hex digits.
fn code(chars: &mut impl Iterator<Item = (usize, char)>) -> Result<char, String> {
    let digits: String = chars.take(8).map(|(_, digit)| digit).collect();
    let number = u32::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| digits.len() == 8);
    number
        .and_then(char::from_u32)
        .ok_or_else(|| "an unknown escape".to_owned())
}

/// What an expression gives.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Number(usize),
    Truth(bool),
}

impl Value {
    fn holds(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(n) => *n != 0,
            Self::Truth(truth) => *truth,
        }
    }
}

struct State<'a> {
    chat: &'a Chat<'a>,
    /// Index of the message in a range.
    dot: Option<usize>,
    variables: BTreeMap<String, Value>,
    out: String,
}

impl State<'_> {
    /// Runs pieces from `at` up to the `else` or `end` that closes this level; prints only if `live`.
    fn run(&mut self, pieces: &[Piece], mut at: usize, live: bool) -> Result<usize, String> {
        while let Some(piece) = pieces.get(at) {
            match piece {
                Piece::Text(text) if live => self.out += text,
                Piece::Text(_) => {}
                Piece::Action(words) => match words.first().map(String::as_str) {
                    Some("else" | "end") => return Ok(at),
                    Some("if") => at = self.branch(pieces, at, &words[1..], live)?,
                    Some("range") => at = self.range(pieces, at, words, live)?,
                    _ if live => self.action(words)?,
                    _ => {}
                },
            }
            at += 1;
        }
        Ok(at)
    }

    /// An `if`, its `else`s and its `end`, whose place is given back.
    fn branch(
        &mut self,
        pieces: &[Piece],
        mut at: usize,
        condition: &[String],
        live: bool,
    ) -> Result<usize, String> {
        let mut open = live;
        let mut holds = open && self.value(condition)?.holds();
        loop {
            at = self.run(pieces, at + 1, holds)?;
            open &= !holds;
            match pieces.get(at) {
                Some(Piece::Action(words)) if words[0] == "end" => return Ok(at),
                Some(Piece::Action(words)) if words.len() == 1 => holds = open,
                Some(Piece::Action(words)) if words[1] == "if" => {
                    holds = open && self.value(&words[2..])?.holds()
                }
                _ => return Err("an if without its end".to_owned()),
            }
        }
    }

    fn range(
        &mut self,
        pieces: &[Piece],
        at: usize,
        words: &[String],
        live: bool,
    ) -> Result<usize, String> {
        if words[1..] != ["$i,", "$message", ":=", ".Messages"] {
            return Err(format!("an unknown range: {}", words.join(" ")));
        }
        let end = self.run(pieces, at + 1, false)?;
        for index in 0..if live { self.chat.messages.len() } else { 0 } {
            self.dot = Some(index);
            self.variables.insert("$i".to_owned(), Value::Number(index));
            self.run(pieces, at + 1, true)?;
        }
        self.dot = None;
        Ok(end)
    }

    fn action(&mut self, words: &[String]) -> Result<(), String> {
        if let [name, ":=" | "=", value] = words.iter().map(String::as_str).collect::<Vec<_>>()[..]
        {
            let value = self.value(&[value.to_owned()])?;
            self.variables.insert(name.to_owned(), value);
            return Ok(());
        }
        match self.value(words)? {
            Value::Text(text) => self.out += &text,
            other => return Err(format!("{other:?} is no text")),
        }
        Ok(())
    }

    fn value(&self, words: &[String]) -> Result<Value, String> {
        let mut words = words
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .into_iter()
            .peekable();
        let value = self.call(&mut words)?;
        words
            .next()
            .map_or(Ok(value), |word| Err(format!("`{word}` is too much")))
    }

    /// A function with its arguments, or a single operand.
    fn call<'w>(
        &self,
        words: &mut std::iter::Peekable<impl Iterator<Item = &'w str>>,
    ) -> Result<Value, String> {
        let name = *words.peek().ok_or("an empty expression")?;
        if !matches!(name, "eq" | "and" | "len" | "gt" | "not") {
            return self.operand(words);
        }
        words.next();
        if name == "len" {
            // Only `len (slice $.Messages $i)`: the messages from the i-th on.
            let slice: Vec<_> = words.by_ref().take(5).collect();
            let index = slice.get(3).and_then(|name| self.variables.get(*name));
            return match (slice[..].starts_with(&["(", "slice", "$.Messages"]), index) {
                (true, Some(Value::Number(index))) => Ok(Value::Number(
                    self.chat.messages.len().saturating_sub(*index),
                )),
                _ => Err("len of something else than messages".to_owned()),
            };
        }
        let left = self.operand(words)?;
        if name == "not" {
            return Ok(Value::Truth(!left.holds()));
        }
        let right = self.operand(words)?;
        Ok(Value::Truth(match (name, &left, &right) {
            ("eq", ..) => left == right,
            ("gt", Value::Number(left), Value::Number(right)) => left > right,
            ("gt", ..) => return Err("gt of something else than numbers".to_owned()),
            _ => left.holds() && right.holds(),
        }))
    }

    fn operand<'w>(
        &self,
        words: &mut std::iter::Peekable<impl Iterator<Item = &'w str>>,
    ) -> Result<Value, String> {
        let word = words.next().ok_or("an operand is missing")?;
        let message = || {
            self.dot
                .and_then(|index| self.chat.messages.get(index))
                .ok_or("no message here")
        };
        Ok(match word {
            "(" => {
                let value = self.nested(words)?;
                if words.next() != Some(")") {
                    return Err("a bracket is missing".to_owned());
                }
                value
            }
            ".System" | "$.System" => Value::Text(self.chat.system.to_owned()),
            "$.IsThinkSet" => Value::Truth(self.chat.think.is_some()),
            "$.Think" => Value::Truth(self.chat.think == Some(true)),
            ".Role" => Value::Text(message()?.role.to_owned()),
            ".Content" => Value::Text(message()?.content.to_owned()),
            ".Thinking" => Value::Text(message()?.thinking.to_owned()),
            _ if word.starts_with('"') => Value::Text(word[1..].to_owned()),
            _ if word.starts_with('$') => self
                .variables
                .get(word)
                .cloned()
                .ok_or(format!("no variable {word}"))?,
            _ => Value::Number(word.parse().map_err(|_| format!("`{word}` is unknown"))?),
        })
    }

    /// [`Self::call`] behind a bracket, without a type that grows with the depth.
    fn nested<'w>(
        &self,
        words: &mut std::iter::Peekable<impl Iterator<Item = &'w str>>,
    ) -> Result<Value, String> {
        let mut depth = 1;
        let mut inner = Vec::new();
        while let Some(&word) = words.peek() {
            depth = match word {
                "(" => depth + 1,
                ")" => depth - 1,
                _ => depth,
            };
            if depth == 0 {
                break;
            }
            inner.push(word.to_owned());
            words.next();
        }
        self.value(&inner)
    }
}
