//! Chat templates, rendered as transformers renders them: the same Jinja settings, filters and Python ways.
use crate::python;
use lora_checkpoint::template_sha256;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use serde_json::{Map, Value as Json};

/// Name of the one template in the environment.
const NAME: &str = "chat_template";

/// A message of a chat, with all the keys it came with; the template decides what it looks at.
pub type Message = Map<String, Json>;

/// A compiled chat template. `strftime_now` is left undefined, so that a template which asks for the date writes its
/// own fixed default, and the same rows give the same bytes on every day.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: Option<String>,
    eos_token: Option<String>,
    source: String,
    sha256: String,
}

impl ChatTemplate {
    /// Compiles a template's source; the error says where the source is wrong.
    pub fn new(
        source: &str,
        bos_token: Option<&str>,
        eos_token: Option<&str>,
    ) -> Result<Self, String> {
        // Jinja drops one newline at the end of a source, so that it is no part of the template.
        let bare = source.strip_suffix('\n').unwrap_or(source);
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| describe(&error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, _, value| {
            python::print(out, value)
                .map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
        });
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", raise_exception);
        environment
            .add_template_owned(NAME, without_generation_tags(bare))
            .map_err(|error| describe(&error))?;
        Ok(Self {
            environment,
            bos_token: bos_token.map(str::to_owned),
            eos_token: eos_token.map(str::to_owned),
            source: source.to_owned(),
            sha256: template_sha256(source),
        })
    }

    /// The source, to the byte.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// sha256 of the source, see [`template_sha256`].
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Writes a chat as text. The error is the template's own (`raise_exception`) or says what failed in which line.
    pub fn render(
        &self,
        messages: &[Message],
        tools: Option<&Json>,
        add_generation_prompt: bool,
    ) -> Result<String, String> {
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|error| describe(&error))?;
        let tools = python::value(tools.unwrap_or(&Json::Null));
        let messages: Vec<Value> = messages.iter().map(python::object).collect();
        let variables = context! {
            messages => messages,
            tools => tools,
            documents => (),
            add_generation_prompt => add_generation_prompt,
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
        };
        template.render(variables).map_err(|error| describe(&error))
    }
}

/// transformers' `{% generation %}` marks what the assistant wrote; it prints its body, as `{% if true %}` does.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let word = tag
            .trim_start_matches(['{', '%', '-', '+'])
            .trim_end_matches(['}', '%', '-', '+'])
            .trim();
        match word {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// transformers' filter: Python's `json.dumps` with `ensure_ascii=False`, no HTML escapes.
fn tojson(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<String, Error> {
    let keyword: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sort: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let mut json = python::json(value);
    if sort == Some(true) {
        json.sort_all_objects();
    }
    Ok(python::json_dumps(
        &json,
        indent.or(keyword),
        ascii == Some(true),
    ))
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// One line: what the template says, and where.
fn describe(error: &Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    match error.line() {
        Some(line) => format!("{what} (chat template, line {line})"),
        None => format!("{what} (chat template)"),
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
