//! How a chat template writes what was thought before an answer, and how it is told that nothing is to be thought: inferred
//! by rendering, and checked on other chats.
use super::go::{self, Chat, Said};
use super::infer::{Turns, messages};
use super::plain;
use lora_data::{ChatTemplate, Message};
use serde_json::{Map, Value, json};

/// Words that no template touches.
const QUESTION: &str = "Xquestion3X";
const THOUGHT: &str = "Xthought0X";
const ANSWER: &str = "Xanswer3X";

/// What stands around a thought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thinking {
    pub(crate) open: String,
    pub(crate) close: String,
    /// Thoughts before answers to earlier questions are written, too.
    pub(crate) keeps: bool,
    /// What the text ends with if nothing is to be thought; none if the template has no such switch, or another one.
    pub(crate) off: Option<String>,
}

impl Thinking {
    /// None if the template does not write thoughts, or in another way.
    pub(super) fn infer(template: &ChatTemplate, turns: &Turns) -> Option<Self> {
        let answered = render(
            template,
            &[thought_through(QUESTION, THOUGHT, ANSWER)],
            None,
            None,
        )?;
        let begin = format!("{}{QUESTION}{}", turns.head, turns.question_answer);
        let (open, rest) = answered.strip_prefix(&begin)?.split_once(THOUGHT)?;
        let (close, _) = rest.split_once(ANSWER)?;
        let earlier = render(
            template,
            &[thought_through("q", THOUGHT, "a")],
            Some("next"),
            None,
        )?;
        let is_plain = |text: &str| !text.trim().is_empty() && plain::is_plain(text);
        (is_plain(open) && is_plain(close)).then(|| Self {
            open: open.to_owned(),
            close: close.to_owned(),
            keeps: earlier.contains(THOUGHT),
            off: switch(template),
        })
    }

    /// True if the written template says what the model's own says on other chats; `added` is what the tokenizer puts
    /// before every text by itself.
    pub(super) fn is_exact(&self, template: &ChatTemplate, written: &str, added: &str) -> bool {
        let first = ("What is 2 + 2?", "Two and two,\nso four.", "4");
        let second = ("And 3 + 3?", "Six {it} is.", "6\n\nSure.");
        let (one, both): (&[_], &[_]) = (&[first], &[first, second]);
        let switches: &[Option<bool>] = match self.off {
            Some(_) => &[None, Some(true), Some(false)],
            None => &[None],
        };
        let cases = [
            (one, None),
            (both, None),
            (one, Some("Next?")),
            (both, Some("Next?")),
        ];
        cases.into_iter().all(|(turns, last)| {
            switches.iter().all(|think| {
                let chat: Vec<_> = turns
                    .iter()
                    .map(|(q, t, a)| thought_through(q, t, a))
                    .collect();
                // An answer that is gone on with has no place for a switch.
                if last.is_none() && think.is_some() {
                    return true;
                }
                let Some(wanted) = render(template, &chat, last, *think) else {
                    return false;
                };
                let wanted = wanted.strip_prefix(added).unwrap_or(&wanted);
                let ours = go::render_chat(written, &said(turns, last, *think));
                match (ours, last) {
                    (Ok(ours), Some(_)) => ours == wanted,
                    // What closes an answer is not part of a text that goes on with it.
                    (Ok(ours), None) => wanted.starts_with(&ours),
                    (Err(_), _) => false,
                }
            })
        })
    }
}

/// What the text has more if nothing is to be thought. Where a template says so in another place, there is no switch.
fn switch(template: &ChatTemplate) -> Option<String> {
    let usual = render(template, &[], Some(QUESTION), None)?;
    let on = render(template, &[], Some(QUESTION), Some(true))?;
    let off = render(template, &[], Some(QUESTION), Some(false))?;
    let more = off.strip_prefix(&usual).filter(|more| !more.is_empty())?;
    (on == usual).then(|| more.to_owned())
}

fn said<'a>(
    turns: &[(&'a str, &'a str, &'a str)],
    last: Option<&'a str>,
    think: Option<bool>,
) -> Chat<'a> {
    let plain = |role, content| Said {
        role,
        content,
        thinking: "",
    };
    let mut messages = Vec::new();
    for (question, thinking, answer) in turns {
        messages.push(plain("user", question));
        messages.push(Said {
            thinking,
            ..plain("assistant", answer)
        });
    }
    messages.extend(last.map(|question| plain("user", question)));
    Chat {
        system: "",
        messages,
        think,
    }
}

/// A question, and an answer that was thought about.
fn thought_through(question: &str, thought: &str, answer: &str) -> Vec<Message> {
    let mut turn = messages(None, &[], question);
    let answer = json!({"role": "assistant", "content": answer, "reasoning_content": thought});
    turn.extend(answer.as_object().cloned());
    turn
}

fn render(
    template: &ChatTemplate,
    turns: &[Vec<Message>],
    last: Option<&str>,
    think: Option<bool>,
) -> Option<String> {
    let mut chat = turns.concat();
    chat.extend(
        last.into_iter()
            .flat_map(|question| messages(None, &[], question)),
    );
    let mut arguments = Map::new();
    if let Some(think) = think {
        arguments.insert("enable_thinking".to_owned(), Value::Bool(think));
    }
    template
        .render_with(&chat, None, &arguments, last.is_some())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::super::exact::checked;
    use lora_data::ChatTemplate;

    /// Qwen 3's way, shortened: thoughts before answers to earlier questions are dropped, and a switch ends the text.
    const DROPS: &str = "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}\
         {% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n\
         {% if m.role == 'assistant' and m.reasoning_content and loop.index0 > ns.last %}<think>\n{{ m.reasoning_content }}\n\
         </think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n\
         {% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}";

    fn written(source: &str) -> (String, Vec<String>) {
        let template = ChatTemplate::new(source, None, None).unwrap();
        let checked = checked(&template, "").unwrap();
        (checked.written, checked.notes)
    }

    #[test]
    fn thoughts_go_with_the_template_and_so_does_their_switch() {
        let (text, notes) = written(DROPS);
        let inside = "{{ if and .Thinking (gt $i $last) }}<think>\n{{ .Thinking }}\n</think>\n\n{{ end }}{{ .Content }}";
        assert!(text.contains(inside), "{text}");
        assert!(
            text.ends_with(
                "{{ if and $.IsThinkSet (not $.Think) }}<think>\n\n</think>\n\n{{ end }}{{ end }}"
            ),
            "{text}"
        );
        assert!(
            !notes
                .iter()
                .any(|note| note.contains("thinking") || note.contains("reasoning")),
            "{notes:?}"
        );

        let keeps = DROPS.replace(" and loop.index0 > ns.last", "");
        let (text, _) = written(&keeps);
        assert!(
            text.contains("{{ if .Thinking }}<think>\n") && !text.contains("$last"),
            "{text}"
        );
    }

    #[test]
    fn what_ollama_can_t_say_of_thinking_is_said() {
        // The switch stands before the chat.
        let elsewhere = DROPS.replacen(
            "{% for m in messages %}<",
            "{{ '/no_think\n' if enable_thinking is false }}{% for m in messages %}<",
            1,
        );
        let (text, notes) = written(&elsewhere);
        assert!(
            text.contains(".Thinking") && !text.contains("IsThinkSet"),
            "{text}"
        );
        assert!(
            notes
                .iter()
                .any(|note| note.contains("`think: false` changes nothing")),
            "{notes:?}"
        );
        // Thoughts are kept by another rule than Ollama's template has.
        let by_length = DROPS.replace("loop.index0 > ns.last", "messages|length < 4");
        let (text, notes) = written(&by_length);
        assert!(!text.contains(".Thinking"), "{text}");
        assert!(
            notes.iter().any(|note| note.contains("reasoning")),
            "{notes:?}"
        );
    }
}
