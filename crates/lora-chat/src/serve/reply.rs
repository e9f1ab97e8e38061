//! How answers are written: one object, or a stream of chunks.
use super::queue::Part;
use super::refusal::Refusal;
use crate::growing::Answer;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// What all of a request's objects have.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) answers: usize,
    pub(crate) prompt_tokens: usize,
    /// Whether a stream says what it took.
    pub(crate) include_usage: bool,
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

impl Form {
    fn usage(&self, tokens: usize) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        })
    }

    /// The whole of it.
    pub(crate) fn whole(&self, answers: &[(String, Answer)]) -> Value {
        let choice = |(index, (text, answer)): (usize, &(String, Answer))| {
            json!({
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": answer.end.reason(),
            })
        };
        let tokens = answers.iter().map(|(_, answer)| answer.tokens).sum();
        let choices: Vec<Value> = answers.iter().enumerate().map(choice).collect();
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": choices, "usage": self.usage(tokens),
        })
    }

    fn chunk(&self, choices: Value, usage: Value) -> String {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": choices,
        });
        if self.include_usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    }

    fn delta(&self, index: usize, delta: Value, reason: Option<&str>) -> String {
        let choice =
            json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": reason});
        self.chunk(json!([choice]), Value::Null)
    }
}

/// A stream of chunks on its way.
#[derive(Debug)]
pub(crate) struct Chunks {
    form: Form,
    open: usize,
    tokens: usize,
}

impl Chunks {
    pub(crate) fn new(form: Form) -> Self {
        Self {
            open: form.answers,
            form,
            tokens: 0,
        }
    }

    /// True once nothing follows.
    pub(crate) fn is_over(&self) -> bool {
        self.open == 0
    }

    /// What every stream starts with: who speaks.
    pub(crate) fn start(&self) -> String {
        let role = || json!({"role": "assistant", "content": ""});
        let of = |index| self.form.delta(index, role(), None);
        (0..self.form.answers).map(of).collect()
    }

    /// The events of a part; none says that the generation has ended without an end.
    pub(crate) fn events(&mut self, part: Option<Part>) -> String {
        match part {
            Some(Part::Text(index, text)) => self.form.delta(index, json!({"content": text}), None),
            Some(Part::End(index, answer)) => {
                self.open -= 1;
                self.tokens += answer.tokens;
                let mut events = self.form.delta(index, json!({}), Some(answer.end.reason()));
                if self.is_over() {
                    if self.form.include_usage {
                        events += &self.form.chunk(json!([]), self.form.usage(self.tokens));
                    }
                    events += "data: [DONE]\n\n";
                }
                events
            }
            Some(Part::Failed(why)) => self.failed(why),
            None => self.failed("the server is stopping"),
        }
    }

    fn failed(&mut self, why: &str) -> String {
        self.open = 0;
        let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why);
        format!("data: {}\n\n", refusal.json())
    }
}
