//! Prompts in, answers out: JSON lines by JSON lines, plain text by text. `line` reads one.
use crate::answer::{Speaker, Turn};
use crate::growing::Answer;
use crate::line::{Asked, Form, read};
use lora_cli::{Context as _, Foreign as _, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};

/// Prompts that are answered together at most: those that have come by the time that the answers before are done. What is
/// answered does not depend on it.
const MOST_TOGETHER: usize = 16;

/// Answers every line until the pipe ends: by the first adapter, or by the base where there is none.
pub(crate) fn answer(
    speaker: &mut Speaker<'_>,
    lines: impl Iterator<Item = io::Result<String>> + Send + 'static,
) -> Result<()> {
    let voice = usize::from(speaker.voices.len() > 1);
    let (sender, receiver) = sync_channel(MOST_TOGETHER);
    lora_cli::thread("reading standard input", move || {
        for line in lines.enumerate() {
            if sender.send(line).is_err() {
                return; // the answers ended with an error
            }
        }
    })?;
    let mut unread = BTreeMap::new();
    loop {
        let waiting = waiting(&receiver)?;
        if waiting.is_empty() {
            return say_unread(speaker, &unread);
        }
        let mut turns: Vec<Turn> = Vec::new();
        let mut forms = Vec::new();
        for (number, asked) in waiting {
            let turn = speaker.turn(voice, &asked.question);
            turns.push(turn.context(|| place(number))?);
            forms.push(asked.form);
            let no_names = speaker.voices[voice].leaves_out_names(&asked.question);
            let name = no_names.then(|| "name of messages".to_owned());
            for key in asked.unread.into_iter().chain(name) {
                *unread.entry(key).or_insert(0) += 1;
            }
        }
        let answers = speaker.answer_turns(voice, &turns, &mut |_, _| {})?;
        speaker.ui.check_interrupt()?;
        for (form, answer) in forms.into_iter().zip(answers) {
            say(speaker, voice, form, &answer);
        }
    }
}

fn place(number: usize) -> String {
    format!("standard input, line {}", number + 1)
}

/// What lines had beside what is asked, in how many lines.
fn say_unread(speaker: &Speaker<'_>, unread: &BTreeMap<String, usize>) -> Result<()> {
    if !unread.is_empty() {
        let keys = unread.iter().map(|(key, lines)| format!("{key} ({lines})"));
        let keys = keys.collect::<Vec<_>>().join(", ");
        speaker.ui.say(&format!(
            "keys that are not read, in how many lines: {keys}"
        ));
    }
    Ok(())
}

/// The next line and all that have come behind it; none at the end.
fn waiting(receiver: &Receiver<(usize, io::Result<String>)>) -> Result<Vec<(usize, Asked)>> {
    let mut asked = Vec::new();
    while asked.len() < MOST_TOGETHER {
        let next = match asked.is_empty() {
            true => receiver.recv().ok(),
            false => receiver.try_recv().ok(),
        };
        let Some((number, line)) = next else {
            break;
        };
        let line = line.foreign().context(|| place(number))?;
        // A byte order mark begins a file, and is none of its text.
        let line = match number {
            0 => line.trim_start_matches('\u{feff}'),
            _ => &line,
        };
        if !line.trim().is_empty() {
            asked.push((number, read(line.trim()).context(|| place(number))?));
        }
    }
    Ok(asked)
}

fn say(speaker: &Speaker<'_>, voice: usize, form: Form, answer: &Answer) {
    let Form::Json(id) = form else {
        speaker.ui.text(&format!("{}\n", answer.text));
        return;
    };
    let mut line = Map::new();
    line.extend(id.map(|id| ("id".to_owned(), id)));
    line.insert("model".to_owned(), json!(speaker.voices[voice].name));
    line.insert("answer".to_owned(), json!(answer.text));
    line.insert("tokens".to_owned(), json!(answer.tokens));
    line.insert("finish_reason".to_owned(), json!(answer.end.reason()));
    speaker.ui.text(&format!("{}\n", Value::Object(line)));
}
