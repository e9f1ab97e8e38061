//! Answers: chats are continued token by token, several together, and their texts handed on as they come.
use crate::Args;
use crate::growing::{Answer, Growing};
use crate::steps::Steps;
use crate::voices::{Question, Voice};
use lora_cli::{Error, Result, Ui};
use lora_model::{Decoding, Generate, Sampling};
use lora_random::Generator;
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

/// A chat as ids, and how its answer is made.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// The chat up to where the answer starts.
    pub(crate) ids: Vec<u32>,
    /// Most tokens of the answer.
    pub(crate) most: usize,
    /// Texts that end it.
    pub(crate) stop: Vec<String>,
    /// Its draws.
    pub(crate) chance: Generator,
}

/// Whoever waits for answers, each known by its number.
pub(crate) trait Listener: Send {
    /// New text of an answer.
    fn text(&mut self, number: usize, new: &str);
    /// An answer is whole.
    fn end(&mut self, number: usize, answer: &Answer);
    /// True once nobody waits for it any more.
    fn is_gone(&self, number: usize) -> bool;
}

/// A function that sees each answer's number and new text.
struct Shown<'f>(&'f mut (dyn FnMut(usize, &str) + Send));

impl Listener for Shown<'_> {
    fn text(&mut self, number: usize, new: &str) {
        (self.0)(number, new);
    }

    fn end(&mut self, _: usize, _: &Answer) {}

    fn is_gone(&self, _: usize) -> bool {
        false
    }
}

impl Speaker<'_> {
    /// Answers several chats together, as the flags say; `show` sees each chat's number and new text as it comes.
    pub(crate) fn answer(
        &mut self,
        voice: usize,
        questions: &[Question],
        show: &mut (dyn FnMut(usize, &str) + Send),
    ) -> Result<Vec<Answer>> {
        let turns = questions.iter().map(|question| self.turn(voice, question));
        let turns: Vec<Turn> = turns.collect::<Result<_>>()?;
        self.answer_turns(voice, &turns, show)
    }

    /// The same of chats whose ids are there.
    pub(crate) fn answer_turns(
        &mut self,
        voice: usize,
        turns: &[Turn],
        show: &mut (dyn FnMut(usize, &str) + Send),
    ) -> Result<Vec<Answer>> {
        let sampling = sampling(self.args);
        self.continued(voice, sampling, turns, &mut Shown(show))
    }

    /// A chat, answered as the flags say.
    pub(crate) fn turn(&self, voice: usize, question: &Question) -> Result<Turn> {
        let ids = self.voices[voice].whole_prompt(question)?;
        let room = self.context.saturating_sub(ids.len());
        if room == 0 {
            return Err(Error::new(format!(
                "the chat has {} tokens, and the model was made for {}",
                ids.len(),
                self.context
            ))
            .hint("start again with a shorter one (/reset at a terminal)"));
        }
        Ok(Turn {
            chance: Sampling::stream(self.args.sampling.seed, &name(&ids)),
            most: self.args.max_new_tokens.min(room),
            stop: self.args.sampling.stop.clone(),
            ids,
        })
    }

    /// Continues several chats together.
    pub(crate) fn continued(
        &mut self,
        voice: usize,
        sampling: Sampling,
        turns: &[Turn],
        listener: &mut dyn Listener,
    ) -> Result<Vec<Answer>> {
        let voice = &self.voices[voice];
        let prompts: Vec<&[u32]> = turns.iter().map(|turn| turn.ids.as_slice()).collect();
        let streams: Vec<_> = turns.iter().map(|turn| turn.chance.clone()).collect();
        let how = Decoding {
            max_new_tokens: turns.iter().map(|turn| turn.most).max().unwrap_or(0),
            stop: &self.stop,
            sampling,
            streams: &streams,
        };
        let mut running = Running {
            texts: vec![Growing::default(); turns.len()],
            answers: vec![None; turns.len()],
            turns,
            listener,
            ui: self.ui,
        };
        let mut steps = Steps::new(turns.len());
        let mut failed = None;
        let mut watch = |number: usize, ids: &[u32]| {
            for ended in steps.token(number) {
                running.finish(ended);
            }
            let goes_on = match voice.encoder.decode(ids) {
                Ok(text) => running.grow(number, text, ids.len()),
                Err(error) => {
                    failed = Some(error.to_string());
                    false
                }
            };
            if goes_on {
                return ControlFlow::Continue(());
            }
            steps.end(number);
            running.finish(number);
            ControlFlow::Break(())
        };
        self.route
            .decode(voice.adapter.as_ref(), &prompts, &how, &mut watch)?;
        if let Some(error) = failed {
            return Err(Error::new(format!("failed to decode an answer: {error}")));
        }
        for ended in steps.open() {
            running.finish(ended);
        }
        Ok(running.answers.into_iter().flatten().collect())
    }
}

/// Answers on their way.
struct Running<'r> {
    texts: Vec<Growing>,
    answers: Vec<Option<Answer>>,
    turns: &'r [Turn],
    listener: &'r mut dyn Listener,
    ui: &'r Ui,
}

impl Running<'_> {
    /// Takes an answer's text so far; false if it ends here.
    fn grow(&mut self, number: usize, text: String, tokens: usize) -> bool {
        let turn = &self.turns[number];
        let mut show = |new: &str| self.listener.text(number, new);
        let is_over = self.texts[number].grow(text, tokens, &turn.stop, &mut show);
        !(is_over || tokens >= turn.most || self.is_stopped(number))
    }

    fn is_stopped(&self, number: usize) -> bool {
        self.ui.interrupted_by().is_some() || self.listener.is_gone(number)
    }

    fn finish(&mut self, number: usize) {
        let is_stopped = self.is_stopped(number);
        let growing = std::mem::take(&mut self.texts[number]);
        let mut show = |new: &str| self.listener.text(number, new);
        let answer = growing.finish(self.turns[number].most, is_stopped, &mut show);
        self.listener.end(number, &answer);
        self.answers[number] = Some(answer);
    }
}

/// What the draws of a chat are named by.
pub(crate) fn name(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(" ")
}

/// How the flags choose tokens.
pub(crate) fn sampling(args: &Args) -> Sampling {
    let flags = &args.sampling;
    Sampling {
        temperature: flags.temperature,
        top_k: flags.top_k,
        top_p: flags.top_p,
        min_p: flags.min_p,
        repetition_penalty: flags.repetition_penalty,
    }
}
