//! From a request to a job: who answers, the prompt's ids, and the limits.
use super::key::Key;
use super::queue::{Job, Part, Queue, Shut};
use super::refusal::Refusal;
use super::request::Request;
use crate::answer::{Turn, name};
use crate::voices::{NoPrompt, Question, Voice};
use hyper::StatusCode;
use lora_model::Sampling;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::UnboundedSender;

/// Threads that read requests and write their prompts as ids.
pub(crate) const READERS: usize = 2;

/// What every request needs to know.
pub(crate) struct House {
    pub(crate) voices: Arc<Vec<Voice>>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) key: Option<Key>,
    /// True if only this machine can ask.
    pub(crate) is_private: bool,
    /// What holds where a request says nothing.
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    pub(crate) stop: Vec<String>,
    /// Most tokens of an answer.
    pub(crate) most: usize,
    /// Tokens that the model was made for.
    pub(crate) context: usize,
    /// Numbers that were given to requests.
    pub(crate) asked: AtomicU64,
}

impl House {
    /// The job that a request asks for.
    pub(crate) fn job(&self, request: &Request, to: UnboundedSender<Part>) -> Result<Job, Refusal> {
        let found = self
            .voices
            .iter()
            .position(|voice| voice.name == request.model);
        let voice = found.ok_or_else(|| self.unknown(&request.model))?;
        let ids = prompt(&self.voices[voice], request)?;
        let most = self.most(request, ids.len())?;
        let seed = request.seed.map_or_else(
            || (self.seed, format!("request {}: ", self.number())),
            |seed| (seed, String::new()),
        );
        let stop = request.stop.as_ref().unwrap_or(&self.stop);
        let turn = |choice: usize| {
            let which = if choice == 0 {
                String::new()
            } else {
                format!(", answer {choice}")
            };
            Turn {
                chance: Sampling::stream(seed.0, &format!("{}{}{which}", seed.1, name(&ids))),
                ids: ids.clone(),
                most,
                stop: stop.clone(),
            }
        };
        Ok(Job {
            voice,
            sampling: self.sampling(request),
            turns: (0..request.answers).map(turn).collect(),
            to,
            gone: Arc::default(),
        })
    }

    /// A number of its own: for a request's name, and for the chance of one without a seed.
    pub(crate) fn number(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts a job where it waits.
    pub(crate) fn enter(&self, job: Job) -> Result<(), Refusal> {
        self.queue.push(job).map_err(|shut| match shut {
            Shut::Full => Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "as many requests wait as may: ask again in a second",
            )
            .code("rate_limit_exceeded")
            .header("retry-after", "1"),
            Shut::Closed => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping"),
        })
    }

    /// No voice has this name.
    pub(crate) fn unknown(&self, model: &str) -> Refusal {
        let names: Vec<&str> = self
            .voices
            .iter()
            .map(|voice| voice.name.as_str())
            .collect();
        let shown: String = model.chars().take(100).collect();
        Refusal {
            param: Some("model".to_owned()),
            ..Refusal::new(
                StatusCode::NOT_FOUND,
                format!(
                    "there is no model `{shown}`: there are {}",
                    names.join(", ")
                ),
            )
        }
        .code("model_not_found")
    }

    fn sampling(&self, request: &Request) -> Sampling {
        let own = &self.sampling;
        let sampling = Sampling {
            temperature: request.temperature.unwrap_or(own.temperature),
            top_k: request.top_k.unwrap_or(own.top_k),
            top_p: request.top_p.unwrap_or(own.top_p),
            min_p: request.min_p.unwrap_or(own.min_p),
            repetition_penalty: request.repetition_penalty.unwrap_or(own.repetition_penalty),
        };
        match sampling.is_greedy() {
            // The most probable token is in every choice: such requests go together, whatever they choose from.
            true => Sampling {
                repetition_penalty: sampling.repetition_penalty,
                ..Sampling::GREEDY
            },
            false => sampling,
        }
    }

    /// Most tokens of the answer: what is asked for, or what there is room for.
    fn most(&self, request: &Request, prompt: usize) -> Result<usize, Refusal> {
        let room = self.context.saturating_sub(prompt);
        let too_long = |message: String| {
            let refusal = Refusal::field("messages", message);
            Err(refusal.code("context_length_exceeded"))
        };
        if room == 0 {
            return too_long(format!(
                "the chat has {prompt} tokens, and this model was made for {}",
                self.context
            ));
        }
        let Some(asked) = request.most else {
            return Ok(self.most.min(room));
        };
        if asked > self.most {
            return Err(Refusal::field(
                "max_tokens",
                format!(
                    "{asked} tokens are asked for, and this server's answers have at most {} (--max-new-tokens)",
                    self.most
                ),
            ));
        }
        if asked > room {
            return too_long(format!(
                "the chat has {prompt} tokens and {asked} are asked for, and this model was made for {}",
                self.context
            ));
        }
        Ok(asked)
    }
}

/// The ids of a request's chat; what the template would leave out is refused.
fn prompt(voice: &Voice, request: &Request) -> Result<Vec<u32>, Refusal> {
    let question = Question {
        messages: request.messages.clone(),
        tools: request.tools.clone(),
    };
    voice.whole(&question).map_err(|no| match no {
        NoPrompt::Refused(error) => Refusal::field("messages", error.to_string()),
        NoPrompt::LeftOut(field) => {
            let message = format!("the chat template of `{}` writes no `{field}`", voice.name);
            Refusal::field(field, message)
        }
    })
}
