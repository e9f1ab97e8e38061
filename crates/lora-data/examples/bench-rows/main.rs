//! Writes the rows of `just bench`: `bench-rows RAW.jsonl OUT` makes of any raw rows `OUT/dense.jsonl` (the same as plain
//! text, every token supervised) and `OUT/long.jsonl` (three solved rows before each question: long prompts, short answers).
use lora_data::{Content, Format, RawRows, Record};
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// Solved rows before a question.
const SHOTS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(raw), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: bench-rows RAW.jsonl OUT".into());
    };
    fs::create_dir_all(&out)?;
    let mut pairs = Vec::new();
    for row in RawRows::open(&raw, Format::default())? {
        let row = row?;
        match Record::from_json(&row.value) {
            Ok(record) => pairs.extend(pair(record.content)),
            Err(fault) => return Err(format!("{}: {fault:?}", raw.display()).into()),
        }
    }
    let (mut dense, mut long) = (String::new(), String::new());
    for (prompt, completion) in &pairs {
        writeln!(
            dense,
            "{}",
            serde_json::json!({ "text": format!("{prompt}\n{completion}\n") })
        )?;
    }
    for rows in pairs.windows(SHOTS + 1).step_by(SHOTS + 1) {
        let Some(((question, answer), solved)) = rows.split_last() else {
            continue;
        };
        let shots: String = solved
            .iter()
            .map(|(prompt, completion)| format!("{prompt}\n{completion}\n\n"))
            .collect();
        writeln!(
            long,
            "{}",
            serde_json::json!({ "prompt": shots + question, "completion": answer })
        )?;
    }
    fs::write(out.join("dense.jsonl"), dense)?;
    Ok(fs::write(out.join("long.jsonl"), long)?)
}

/// Prompt and completion of a row as text.
fn pair(content: Content) -> Option<(String, String)> {
    match content {
        Content::Pair {
            prompt, completion, ..
        } => Some((prompt, completion)),
        Content::Chat(chat) => {
            let text = |part: &[lora_data::Message]| {
                part.iter()
                    .filter_map(|m| m.get("content")?.as_str())
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            let last = chat.messages.len() - 1;
            let prompt = chat.completion.unwrap_or(last);
            Some((
                text(&chat.messages[..prompt]),
                text(&chat.messages[prompt..]),
            ))
        }
        Content::Text(text) => {
            let middle = text.char_indices().nth(text.chars().count() * 4 / 5)?.0;
            Some((text[..middle].to_owned(), text[middle..].to_owned()))
        }
    }
}
