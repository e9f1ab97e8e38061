//! What a request for a chat completion says.
use super::chat;
use super::fields;
use super::refusal::Refusal;
use hyper::StatusCode;
use lora_data::Message;
use serde_json::{Map, Value};

/// Most answers to one request.
pub(crate) const MOST_ANSWERS: usize = 16;

/// Most stop texts of a request.
const MOST_STOPS: usize = 16;

/// A request, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Option<Value>,
    pub(crate) stream: bool,
    /// Whether a stream ends with the tokens it took.
    pub(crate) include_usage: bool,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) top_k: Option<usize>,
    pub(crate) min_p: Option<f64>,
    pub(crate) repetition_penalty: Option<f64>,
    pub(crate) seed: Option<u64>,
    pub(crate) most: Option<usize>,
    pub(crate) answers: usize,
    pub(crate) stop: Option<Vec<String>>,
}

impl Request {
    /// Reads the body of a request.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("the body is no JSON: {error}"),
            )
        })?;
        let Value::Object(given) = value else {
            let message = "the body is no JSON object";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        };
        let fields = Fields(fields::checked(given)?);
        let Some(model) = fields.0.get("model").and_then(Value::as_str) else {
            return Err(Refusal::field(
                "model",
                "`model` must name a model: GET /v1/models lists them",
            ));
        };
        Ok(Self {
            model: model.to_owned(),
            messages: chat::messages(fields.0.get("messages"))?,
            tools: fields.tools()?,
            stream: fields.flag("stream")?,
            include_usage: fields.include_usage()?,
            temperature: fields.number("temperature", 0.0, 2.0)?,
            top_p: fields.number("top_p", 0.0, 1.0)?,
            top_k: fields.whole("top_k", 0, usize::MAX)?,
            min_p: fields.number("min_p", 0.0, 1.0)?,
            repetition_penalty: fields.number("repetition_penalty", 1.0, 10.0)?,
            seed: fields.seed()?,
            most: fields.most()?,
            answers: fields.whole("n", 1, MOST_ANSWERS)?.unwrap_or(1),
            stop: fields.stop()?,
        })
    }
}

/// The fields of a request that have a value.
struct Fields(Map<String, Value>);

impl Fields {
    fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.0.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Refusal::field(
                name,
                format!("`{name}` must be true or false"),
            )),
        }
    }

    fn number(&self, name: &str, least: f64, most: f64) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|x| (least..=most).contains(x));
        number.map(Some).ok_or_else(|| {
            Refusal::field(
                name,
                format!("`{name}` must be a number from {least} to {most}"),
            )
        })
    }

    fn whole(&self, name: &str, least: usize, most: usize) -> Result<Option<usize>, Refusal> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let number = value.as_u64().and_then(|x| usize::try_from(x).ok());
        let number = number.filter(|x| (least..=most).contains(x));
        number.map(Some).ok_or_else(|| {
            let range = match most {
                usize::MAX => format!("{least} or more"),
                most => format!("from {least} to {most}"),
            };
            Refusal::field(name, format!("`{name}` must be a whole number, {range}"))
        })
    }

    fn seed(&self) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.0.get("seed") else {
            return Ok(None);
        };
        // A negative one is as good as any other.
        let seed = value.as_u64().or_else(|| Some(value.as_i64()? as u64));
        seed.map(Some)
            .ok_or_else(|| Refusal::field("seed", "`seed` must be a whole number"))
    }

    /// The newer name of the most tokens, or the older one.
    fn most(&self) -> Result<Option<usize>, Refusal> {
        let newer = self.whole("max_completion_tokens", 1, usize::MAX)?;
        let older = self.whole("max_tokens", 1, usize::MAX)?;
        match (newer, older) {
            (Some(newer), Some(older)) if newer != older => Err(Refusal::field(
                "max_tokens",
                format!(
                    "`max_tokens` is {older} and `max_completion_tokens` {newer}: give one of them"
                ),
            )),
            _ => Ok(newer.or(older)),
        }
    }

    fn stop(&self) -> Result<Option<Vec<String>>, Refusal> {
        let all = match self.0.get("stop") {
            None => return Ok(None),
            Some(Value::String(text)) => Some(vec![text.clone()]),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect(),
            Some(_) => None,
        };
        let is_fine =
            |all: &Vec<String>| all.len() <= MOST_STOPS && all.iter().all(|s| !s.is_empty());
        all.filter(is_fine).map(Some).ok_or_else(|| {
            let form = format!(
                "`stop` must be a text or a list of at most {MOST_STOPS}, none of them empty"
            );
            Refusal::field("stop", form)
        })
    }

    fn include_usage(&self) -> Result<bool, Refusal> {
        let Some(options) = self.0.get("stream_options") else {
            return Ok(false);
        };
        let fail = |why: &str| {
            Err(Refusal::field(
                "stream_options",
                format!("`stream_options` {why}"),
            ))
        };
        let Value::Object(options) = options else {
            return fail("must be an object");
        };
        if !self.flag("stream")? {
            return fail("needs `stream`: true");
        }
        let known = ["include_usage", "include_obfuscation"];
        if options.keys().any(|name| !known.contains(&name.as_str())) {
            return fail("knows `include_usage` alone");
        }
        match options.get("include_usage") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(wanted)) => Ok(*wanted),
            Some(_) => fail("has an `include_usage` that is neither true nor false"),
        }
    }

    /// Tools that the model may call; an answer has its calls as the model wrote them, as text.
    fn tools(&self) -> Result<Option<Value>, Refusal> {
        let choice = self.0.get("tool_choice").map(Value::as_str);
        let is_off = match choice {
            None | Some(Some("auto")) => false,
            Some(Some("none")) => true,
            Some(_) => {
                let message = "`tool_choice` is not supported beyond `auto` and `none`: nothing makes this model call";
                return Err(Refusal::field("tool_choice", message));
            }
        };
        match self.0.get("tools") {
            Some(Value::Array(tools)) if tools.is_empty() => Ok(None),
            Some(Value::Array(tools)) if tools.iter().all(Value::is_object) => {
                Ok(Some(Value::Array(tools.clone())).filter(|_| !is_off))
            }
            Some(_) => Err(Refusal::field("tools", "`tools` must be a list of objects")),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(more: Value) -> Result<Request, Refusal> {
        let mut body = json!({"model": "base", "messages": [{"role": "user", "content": "a"}]});
        let body_fields = body.as_object_mut().unwrap();
        body_fields.extend(more.as_object().unwrap().clone());
        Request::read(body.to_string().as_bytes())
    }

    #[test]
    fn fields_become_what_they_say() {
        let request = read(json!({
            "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.5, "top_p": 1, "seed": -1,
            "max_tokens": 7, "n": 2, "stop": "x", "tools": [{"type": "function"}], "tool_choice": "none",
        }))
        .unwrap();
        assert!(request.stream && request.include_usage);
        assert_eq!(
            (request.temperature, request.top_p, request.seed),
            (Some(0.5), Some(1.0), Some(u64::MAX))
        );
        assert_eq!((request.most, request.answers), (Some(7), 2));
        assert_eq!(
            (request.stop, request.tools),
            (Some(vec!["x".to_owned()]), None)
        );
        let bare = read(json!({})).unwrap();
        assert_eq!(
            (bare.stream, bare.answers, bare.most, bare.stop),
            (false, 1, None, None)
        );
    }

    #[test]
    fn a_wrong_value_is_refused_by_its_field() {
        for (wrong, field) in [
            (json!({"model": 3}), "model"),
            (json!({"stream": "yes"}), "stream"),
            (json!({"temperature": -1}), "temperature"),
            (json!({"temperature": 2.5}), "temperature"),
            (json!({"top_p": "1"}), "top_p"),
            (json!({"n": 0}), "n"),
            (json!({"n": 1000}), "n"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_tokens": 1.5}), "max_tokens"),
            (
                json!({"max_tokens": 1, "max_completion_tokens": 2}),
                "max_tokens",
            ),
            (json!({"stop": [""]}), "stop"),
            (json!({"stop": [1]}), "stop"),
            (json!({"seed": 1.5}), "seed"),
            (
                json!({"stream_options": {"include_usage": true}}),
                "stream_options",
            ),
            (json!({"tools": {}}), "tools"),
            (
                json!({"tools": [], "tool_choice": "required"}),
                "tool_choice",
            ),
        ] {
            assert_eq!(
                read(wrong.clone()).unwrap_err().param.as_deref(),
                Some(field),
                "{wrong}"
            );
        }
        for body in ["", "{", "[]", "null", "{\"model\": 1e999}", "\u{0}"] {
            let refusal = Request::read(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(Request::read(deep.as_bytes()).is_err());
    }
}
