//! A chat template's turns, inferred by rendering it: what stands before, between and after the messages. Nothing is
//! guessed: a template that these few texts can't describe is an error.
use lora_data::{ChatTemplate, Message};
use serde_json::{Value, json};

/// The texts around the messages of a chat that ends with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turns {
    /// Before the first question.
    pub(crate) head: String,
    /// Where a system message stands; None if the template has no place for one.
    pub(crate) system: Option<System>,
    /// Between a question and its answer.
    pub(crate) question_answer: String,
    /// Between an answer and the next question.
    pub(crate) answer_question: String,
    /// After the last question: where the answer begins.
    pub(crate) tail: String,
}

/// Where a system message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum System {
    /// Before the first question, in place of the head.
    First { before: String, after: String },
    /// Right before the last question (Mistral's way), after what stands there anyway.
    Last { before: String, after: String },
}

/// Words that no template touches.
const SYSTEM: &str = "Xsystem0X";
const QUESTIONS: [&str; 3] = ["Xquestion0X", "Xquestion1X", "Xquestion2X"];
const ANSWERS: [&str; 2] = ["Xanswer0X", "Xanswer1X"];

impl Turns {
    /// Infers the turns; the error is one line.
    pub(crate) fn infer(template: &ChatTemplate) -> Result<Self, String> {
        let (one, two) = (
            render(template, &chat(None, 1))?,
            render(template, &chat(None, 2))?,
        );
        let [head, tail] = pieces(&one, [QUESTIONS[0]])?;
        let [head_again, question_answer, answer_question, tail_again] =
            pieces(&two, [QUESTIONS[0], ANSWERS[0], QUESTIONS[1]])?;
        if head != head_again || tail != tail_again {
            return Err(
                "the first and the last turn change with the length of the chat".to_owned(),
            );
        }
        Ok(Self {
            system: system(template, &head, &answer_question)?,
            head,
            question_answer,
            answer_question,
            tail,
        })
    }

    /// The chat as text.
    pub(crate) fn render(
        &self,
        system: Option<&str>,
        turns: &[(&str, &str)],
        last: &str,
    ) -> String {
        let mut text = String::new();
        let questions = turns.iter().map(|(question, _)| *question).chain([last]);
        for (index, question) in questions.enumerate() {
            let lead = if index == 0 {
                &self.head
            } else {
                &self.answer_question
            };
            match (&self.system, system) {
                (Some(System::First { before, after }), Some(system)) if index == 0 => {
                    text += &format!("{before}{system}{after}");
                }
                (Some(System::Last { before, after }), Some(system)) if index == turns.len() => {
                    text += &format!("{lead}{before}{system}{after}");
                }
                _ => text += lead,
            }
            text += question;
            text += if index < turns.len() {
                &self.question_answer
            } else {
                &self.tail
            };
            text += turns.get(index).map_or("", |(_, answer)| answer);
        }
        text
    }

    /// Takes the text that a tokenizer adds by itself off the beginning.
    pub(crate) fn without_bos(mut self, bos: &str) -> Self {
        let strip = |text: &mut String| {
            if let Some(rest) = text.strip_prefix(bos) {
                *text = rest.to_owned();
            }
        };
        strip(&mut self.head);
        if let Some(System::First { before, .. }) = &mut self.system {
            strip(before);
        }
        self
    }
}

fn system(
    template: &ChatTemplate,
    head: &str,
    answer_question: &str,
) -> Result<Option<System>, String> {
    let Ok(one) = render(template, &chat(Some(SYSTEM), 1)) else {
        return Ok(None);
    };
    if !one.contains(SYSTEM) {
        return Ok(None);
    }
    let [before, after, _] = pieces(&one, [SYSTEM, QUESTIONS[0]])?;
    let two = render(template, &chat(Some(SYSTEM), 2))?;
    if pieces::<4, 5>(&two, [SYSTEM, QUESTIONS[0], ANSWERS[0], QUESTIONS[1]]).is_ok() {
        return Ok(Some(System::First { before, after }));
    }
    let [_, _, between, after_again, _] =
        pieces(&two, [QUESTIONS[0], ANSWERS[0], SYSTEM, QUESTIONS[1]])?;
    let own = |text: &str, lead: &str| text.strip_prefix(lead).map(str::to_owned);
    match (own(&before, head), own(&between, answer_question)) {
        (Some(first), Some(later)) if first == later && after == after_again => {
            Ok(Some(System::Last {
                before: first,
                after,
            }))
        }
        _ => Err(
            "the system message stands neither before the first nor before the last question"
                .to_owned(),
        ),
    }
}

/// A chat of `questions` questions with answers between them.
fn chat(system: Option<&str>, questions: usize) -> Vec<Message> {
    let turns: Vec<_> = QUESTIONS[..questions - 1]
        .iter()
        .copied()
        .zip(ANSWERS)
        .collect();
    messages(system, &turns, QUESTIONS[questions - 1])
}

/// A chat as a template takes it.
pub(crate) fn messages(system: Option<&str>, turns: &[(&str, &str)], last: &str) -> Vec<Message> {
    let mut all: Vec<(&str, &str)> = system.map(|text| ("system", text)).into_iter().collect();
    all.extend(
        turns
            .iter()
            .flat_map(|&(question, answer)| [("user", question), ("assistant", answer)]),
    );
    all.push(("user", last));
    let message = |(role, content): (&str, &str)| match json!({"role": role, "content": content}) {
        Value::Object(message) => message,
        _ => Message::new(),
    };
    all.into_iter().map(message).collect()
}

fn render(template: &ChatTemplate, chat: &[Message]) -> Result<String, String> {
    template.render(chat, None, true)
}

/// The texts before, between and after words that each stand there once, in this order.
fn pieces<const W: usize, const P: usize>(
    text: &str,
    words: [&str; W],
) -> Result<[String; P], String> {
    let mut rest = text;
    let mut pieces = Vec::with_capacity(P);
    for word in words {
        let (before, after) = rest
            .split_once(word)
            .ok_or("a message is missing, or not where its turn is")?;
        pieces.push(before.to_owned());
        rest = after;
    }
    pieces.push(rest.to_owned());
    let every = [SYSTEM].into_iter().chain(QUESTIONS).chain(ANSWERS);
    if every
        .into_iter()
        .any(|word| pieces.iter().any(|piece| piece.contains(word)))
    {
        return Err("a message is written more than once".to_owned());
    }
    pieces
        .try_into()
        .map_err(|_| "a message is missing".to_owned())
}
