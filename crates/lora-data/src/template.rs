//! Chat templates, rendered as transformers renders them: the same Jinja settings, filters and Python ways.
use crate::guard;
use crate::jinja::Source;
use crate::python::{self, Dumps};
use crate::reasoning;
use crate::strings;
use chrono::{NaiveDate, NaiveTime};
use lora_checkpoint::template_sha256;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, State, context};
use serde_json::{Map, Value as Json};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Name of the one template in the environment.
const NAME: &str = "chat_template";

/// What a rendering may cost: instructions, each 64 bytes that are made, half an item of a list. Of 124 templates with
/// 200 turns of 400 characters and 30 tools, Gemma 4's cost most, 274,000; gpt-oss's 90,000; all others 62,000 at most.
const FUEL: u64 = 1_500_000;

/// Bytes that a source may have, and one of its tags: what is nested in a tag is read by recursion.
const LONGEST_SOURCE: usize = 1 << 20;
const LONGEST_TAG: usize = 1 << 15;

/// Characters of a template's own message that are shown.
const LONGEST_MESSAGE: usize = 1000;

/// Bytes of the stack on which a source is read, of which each level of nesting takes some.
const STACK: usize = 256 << 20;

/// What a template is always given.
const OWN: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

/// A message of a chat, with all the keys it came with; the template decides what it looks at.
pub type Message = Map<String, Json>;

/// A compiled chat template. `strftime_now` is left undefined unless a date is given, so that a template which asks for
/// the date writes its own fixed default, and the same rows give the same bytes on every day.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    bos_token: Option<String>,
    eos_token: Option<String>,
    source: Arc<str>,
    sha256: String,
    /// True if `{% generation %}` blocks say what the assistant wrote.
    has_generation: bool,
    /// Renderings that took too much.
    excesses: AtomicUsize,
}

/// A rendered chat, and what the assistant wrote of it, in bytes.
pub(crate) type Marked = (String, Vec<Range<usize>>);

impl ChatTemplate {
    /// Renderings that may take too much before a template is given up: one may be of a very long chat.
    pub const EXCESSES: usize = 10;

    /// What is said of a template that renders nothing any more.
    pub const GIVEN_UP: &str = "it took more time or memory than any chat needs (chat template)";

    /// Compiles a template's source; the error says where the source is wrong.
    pub fn new(
        source: &str,
        bos_token: Option<&str>,
        eos_token: Option<&str>,
    ) -> Result<Self, String> {
        check_size(source)?;
        let Source {
            text,
            has_generation,
        } = Source::new(source);
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true) // the one that Jinja takes off is off already
            .build();
        environment.set_syntax(syntax.map_err(|error| describe(&error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(strings::method);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|out, _, value| {
            python::print(out, value)
                .map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
        });
        environment.add_filter("tojson", tojson);
        environment.add_filter("string", |value: &Value| python::text(value));
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("generated", generated);
        environment.add_test("iterable", is_iterable);
        let environment = compile(environment, text)?;
        Ok(Self {
            environment: Arc::new(environment),
            bos_token: bos_token.map(str::to_owned),
            eos_token: eos_token.map(str::to_owned),
            source: source.into(),
            sha256: template_sha256(source),
            has_generation,
            excesses: AtomicUsize::new(0),
        })
    }

    /// The same with `strftime_now`, which writes midnight of this date (`2026-11-27`).
    pub fn with_date(mut self, date: &str) -> Result<Self, String> {
        let now = day(date)?.and_time(NaiveTime::MIN);
        let strftime = move |format: String| {
            let mut text = String::new();
            match write!(text, "{}", now.format(&format)) {
                Ok(()) => Ok(text),
                Err(_) => Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("strftime_now knows no format {format:?}"),
                )),
            }
        };
        Arc::make_mut(&mut self.environment).add_function("strftime_now", strftime);
        Ok(self)
    }

    /// The source, to the byte.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// sha256 of the source, see [`template_sha256`].
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Writes a chat as text, without more arguments.
    pub fn render(
        &self,
        messages: &[Message],
        tools: Option<&Json>,
        add_generation_prompt: bool,
    ) -> Result<String, String> {
        self.render_with(messages, tools, &Map::new(), add_generation_prompt)
    }

    /// A chat with what the assistant wrote of it, as the template's `{% generation %}` blocks say; None if it
    /// has no such blocks.
    pub(crate) fn render_marked(
        &self,
        messages: &[Message],
        tools: Option<&Json>,
        arguments: &Map<String, Json>,
    ) -> Result<Option<Marked>, String> {
        if !self.has_generation {
            return Ok(None);
        }
        let mut arguments = arguments.clone();
        arguments.insert(MARKS.to_owned(), Json::Bool(true));
        let marked = self.render_with(messages, tools, &arguments, false)?;
        let mut text = String::with_capacity(marked.len());
        let mut spans = Vec::new();
        for (at, piece) in marked.split(GENERATED).enumerate() {
            let start = text.len();
            text.push_str(piece);
            if at % 2 == 1 {
                spans.push(start..text.len());
            }
        }
        Ok(Some((text, spans)))
    }

    /// Writes a chat as text; `arguments` are what the template is given beside its own. The error is the template's own (`raise_exception`) or says what failed in which line.
    pub fn render_with(
        &self,
        messages: &[Message],
        tools: Option<&Json>,
        arguments: &Map<String, Json>,
        add_generation_prompt: bool,
    ) -> Result<String, String> {
        if self.is_given_up() {
            return Err(Self::GIVEN_UP.to_owned());
        }
        let tools = python::value(tools.unwrap_or(&Json::Null));
        let messages = messages
            .iter()
            .map(|message| python::object(&reasoning::under_all_names(message)));
        let messages: Vec<Value> = messages.collect();
        if let Some(key) = OWN.iter().find(|key| arguments.contains_key(**key)) {
            return Err(format!("'{key}' can't be given by chat_template_kwargs"));
        }
        let variables = context! {
            messages => messages,
            tools => tools,
            documents => (),
            add_generation_prompt => add_generation_prompt,
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
            ..python::object(arguments)
        };
        let environment = self.environment.clone();
        let render = move || {
            let made = environment
                .get_template(NAME)
                .and_then(|template| template.render(variables));
            made.map_err(|error| (error.kind() == ErrorKind::OutOfFuel, describe(&error)))
        };
        match guard::watched(render) {
            Ok(Ok(text)) => Ok(text),
            Ok(Err((is_excess, what))) => {
                self.excesses
                    .fetch_add(usize::from(is_excess), Ordering::Relaxed);
                Err(what)
            }
            Err(what) => {
                self.excesses.store(Self::EXCESSES, Ordering::Relaxed);
                Err(format!("{what} (chat template)"))
            }
        }
    }

    /// Tries the template on a question of one word: one that takes too much even of that does it with everything.
    ///
    /// # Errors
    /// What it took too much of. That it refuses the question is none: it may want other chats.
    pub fn try_out(&self) -> Result<(), String> {
        let mut question = Message::new();
        question.insert("role".to_owned(), "user".into());
        question.insert("content".to_owned(), "a".into());
        let made = self.render(&[question], None, true);
        match self.excesses.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => made.map(|_| ()),
        }
    }

    /// True once it took too much too often: it renders nothing any more.
    pub fn is_given_up(&self) -> bool {
        self.excesses() >= Self::EXCESSES
    }

    /// Renderings that took too much.
    pub fn excesses(&self) -> usize {
        self.excesses.load(Ordering::Relaxed)
    }

    /// The same template, which has taken too much of nothing yet.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self {
            environment: self.environment.clone(),
            bos_token: self.bos_token.clone(),
            eos_token: self.eos_token.clone(),
            source: self.source.clone(),
            sha256: self.sha256.clone(),
            has_generation: self.has_generation,
            excesses: AtomicUsize::new(0),
        }
    }
}

/// Code points that no text has, around what the assistant wrote.
const GENERATED: [char; 2] = ['\u{FDD5}', '\u{FDD6}'];

/// The variable that asks for marks around what the assistant wrote.
const MARKS: &str = "lora_marks";

fn generated(state: &State, body: String) -> String {
    match state.lookup(MARKS).is_some_and(|asked| asked.is_true()) {
        true => format!("{}{body}{}", GENERATED[0], GENERATED[1]),
        false => body,
    }
}

/// Refuses sources that no chat needs, and that would be read too deep.
fn check_size(source: &str) -> Result<(), String> {
    if source.len() > LONGEST_SOURCE {
        return Err(format!("the source has more than {LONGEST_SOURCE} bytes"));
    }
    let mut rest = source;
    while let Some(open) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        rest = &rest[open + 2..];
        let end = rest.find("}}").into_iter().chain(rest.find("%}")).min();
        if end.unwrap_or(rest.len()) > LONGEST_TAG {
            return Err(format!("a tag has more than {LONGEST_TAG} bytes"));
        }
    }
    Ok(())
}

/// Reads a source, on a stack that its nesting fits.
fn compile(
    mut environment: Environment<'static>,
    source: String,
) -> Result<Environment<'static>, String> {
    let read = move || {
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| describe(&error))?;
        Ok(environment)
    };
    guard::thread(STACK, read)
        .join()
        .map_err(|_| "the source can't be read".to_owned())?
}

/// Python's: None is none.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// transformers' filter: Python's `json.dumps` with `ensure_ascii=False`, no HTML escapes.
fn tojson(value: &Value, ascii: Option<Value>, options: Kwargs) -> Result<String, Error> {
    if value.is_undefined() {
        let what = "tojson of what is not there";
        return Err(Error::new(ErrorKind::UndefinedError, what));
    }
    let indent: Option<usize> = options.get("indent")?;
    let keyword: Option<bool> = options.get("ensure_ascii")?;
    let sort: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let mut json = python::json(value);
    if sort == Some(true) {
        json.sort_all_objects();
    }
    let separators = match separators.as_deref() {
        None => None,
        Some([item, key]) => Some((item.clone(), key.clone())),
        Some(_) => {
            let what = "separators are two texts";
            return Err(Error::new(ErrorKind::InvalidOperation, what));
        }
    };
    let dumps = Dumps {
        indent,
        separators,
        ascii: ascii.map(|ascii| ascii.is_true()).or(keyword) == Some(true),
    };
    Ok(dumps.text(&json))
}

fn day(text: &str) -> Result<NaiveDate, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .map_err(|error| format!("no date such as 2026-11-27: {error}"))
}

/// The text of a date that [`ChatTemplate::with_date`] takes.
///
/// # Errors
/// What it should be, for any other text.
pub fn date(text: &str) -> Result<String, String> {
    day(text).map(|_| text.to_owned())
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// One line: what the template says, and where.
fn describe(error: &Error) -> String {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "it does more work than any chat needs".to_owned(),
        kind => error.detail().map_or_else(
            || kind.to_string(),
            |text| text.chars().take(LONGEST_MESSAGE).collect(),
        ),
    };
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    match error.line() {
        Some(line) => format!("{what} (chat template, line {line})"),
        None => format!("{what} (chat template)"),
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
