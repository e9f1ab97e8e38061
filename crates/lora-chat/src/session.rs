//! A chat at a terminal: its history, who answers, and what each line does to them.
use crate::answer::Speaker;
use crate::command::{HELP, Line};
use crate::growing::End;
use crate::voices::{Question, message};
use lora_cli::Result;
use lora_data::Message;

/// Whether the chat goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Line,
    Leave,
}

/// The chat.
pub(crate) struct Session<'a, 's> {
    speaker: &'a mut Speaker<'s>,
    history: Vec<Message>,
    /// Numbers of the voices that answer, in this order; the last one's answer stays.
    answering: Vec<usize>,
    /// The system message that was typed.
    system: Option<String>,
}

impl<'a, 's> Session<'a, 's> {
    /// The first adapter answers, or the base where there is none.
    pub(crate) fn new(speaker: &'a mut Speaker<'s>) -> Self {
        let first = usize::from(speaker.voices.len() > 1);
        Self {
            speaker,
            history: Vec::new(),
            answering: vec![first],
            system: None,
        }
    }

    /// Who answers, for the prompt.
    pub(crate) fn label(&self) -> String {
        let names = self
            .answering
            .iter()
            .map(|&voice| self.speaker.voices[voice].name.as_str());
        names.collect::<Vec<_>>().join("+")
    }

    /// What a line does. An answer that can't be given is said, and the chat goes on without its question.
    pub(crate) fn take(&mut self, line: &str) -> Next {
        match Line::parse(line) {
            Line::Empty => {}
            Line::Message(text) => self.ask(&text),
            Line::Base => self.answering = vec![0],
            Line::Adapter(name) => self.choose(&name),
            Line::Both => self.both(),
            Line::System(text) => {
                self.system = text;
                self.start_again();
            }
            Line::Reset => self.start_again(),
            Line::Help => self.say(&format!("{HELP}\n")),
            Line::Quit => return Next::Leave,
            Line::Unknown(line) => {
                self.say(&format!("there is no command `{line}`: /help lists them\n"))
            }
        }
        Next::Line
    }

    fn say(&self, text: &str) {
        self.speaker.ui.text(text);
    }

    fn start_again(&mut self) {
        self.history.clear();
        self.say("(a new chat)\n");
    }

    fn choose(&mut self, name: &str) {
        let adapters = self.speaker.voices.iter().enumerate().skip(1);
        let is_named = |(number, own): (usize, &str)| own == name || name == number.to_string();
        let found = adapters
            .clone()
            .find(|(number, voice)| is_named((*number, &voice.name)));
        match found {
            Some((number, _)) => self.answering = vec![number],
            None => {
                let all = adapters.map(|(number, voice)| format!("{number}: {}", voice.name));
                let all: Vec<String> = all.collect();
                let all = if all.is_empty() {
                    "none: start with --adapter DIR".to_owned()
                } else {
                    all.join(", ")
                };
                self.say(&format!("adapters are {all}\n"));
            }
        }
    }

    fn both(&mut self) {
        let adapter = self.answering.last().copied().filter(|&voice| voice > 0);
        match adapter.or((self.speaker.voices.len() > 1).then_some(1)) {
            Some(adapter) => self.answering = vec![0, adapter],
            None => self.say("there is no adapter: start with --adapter DIR\n"),
        }
    }

    fn ask(&mut self, text: &str) {
        self.speaker.ui.forgive_interrupt();
        self.history.push(message("user", text));
        let answered = self.answers();
        self.speaker.ui.forgive_interrupt();
        if let Err(error) = answered {
            self.history.pop();
            let hint = error
                .failure(0)
                .hint
                .map_or_else(String::new, |hint| format!(" ({hint})"));
            self.say(&format!("error: {error}{hint}\n"));
        }
    }

    fn answers(&mut self) -> Result<()> {
        let system = self.system.as_deref().map(|text| message("system", text));
        let question = Question {
            messages: system
                .into_iter()
                .chain(self.history.iter().cloned())
                .collect(),
            tools: None,
        };
        let mut kept = String::new();
        for voice in self.answering.clone() {
            if self.speaker.ui.interrupted_by().is_some() {
                break;
            }
            if self.answering.len() > 1 {
                self.say(&format!("[{}] ", self.speaker.voices[voice].name));
            }
            let ui = self.speaker.ui;
            let questions = std::slice::from_ref(&question);
            let answers = self
                .speaker
                .answer(voice, questions, &mut |_, new| ui.text(new))?;
            for answer in answers {
                self.say(match answer.end {
                    End::Stop => "\n",
                    End::Length => " …\n(cut off: --max-new-tokens allows more)\n",
                    End::Stopped => " …\n(stopped)\n",
                });
                kept = answer.text;
            }
        }
        self.history.push(message("assistant", &kept));
        Ok(())
    }
}
