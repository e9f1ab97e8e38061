//! Writes what the embedded tiny model is made from, deterministically: `tiny-corpus OUT [CHATS] [SEED]` writes
//! `OUT/tasks.jsonl` (requests and calls of the task API), `OUT/corpus.jsonl` (the chats of the pre-training) and
//! `OUT/model/` (configuration, tokenizer and chat template, no weights yet).
mod corpus;
mod model;
mod request;
mod words;

use std::collections::HashSet;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// Rows of tasks.jsonl.
const TASKS: usize = 1200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = PathBuf::from(
        arguments
            .next()
            .ok_or("usage: tiny-corpus OUT [CHATS] [SEED]")?,
    );
    let chats: usize = arguments.next().map_or(Ok(60_000), |chats| chats.parse())?;
    let seed: u64 = arguments.next().map_or(Ok(7), |seed| seed.parse())?;
    fs::create_dir_all(&out)?;

    let mut texts = Vec::new();
    let mut known = HashSet::new();
    let mut dice = words::Dice::new(seed, "tasks");
    let mut tasks = Vec::new();
    while known.len() < TASKS {
        let call = request::Call::random(&mut dice);
        let request = call.to_request(&mut dice);
        if known.insert(request.clone()) {
            texts.extend([request.clone(), call.to_json()]);
            tasks.push((request, call.to_json()));
        }
    }
    fs::write(out.join("tasks.jsonl"), jsonl(&tasks))?;

    let mut dice = words::Dice::new(seed, "corpus");
    let vocabulary = corpus::vocabulary();
    let rows: Vec<_> = (0..chats)
        .map(|_| corpus::chat(&mut dice, &vocabulary, |request| known.contains(request)))
        .map(|chat| (chat.prompt, chat.completion))
        .collect();
    fs::write(out.join("corpus.jsonl"), jsonl(&rows))?;

    texts.extend(
        rows.into_iter()
            .take(20_000)
            .flat_map(|(prompt, completion)| [prompt, completion]),
    );
    texts.extend((0..10).map(|_| "system\nuser\nassistant\n".to_owned()));
    model::write(&out.join("model"), &texts)
}

fn jsonl(rows: &[(String, String)]) -> String {
    rows.iter()
        .fold(String::new(), |mut text, (prompt, completion)| {
            let _ = writeln!(
                text,
                "{}",
                serde_json::json!({ "prompt": prompt, "completion": completion })
            );
            text
        })
}
