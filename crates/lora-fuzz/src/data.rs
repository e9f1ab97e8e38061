//! Raw records, chat templates and dataset files.
use crate::files::written;
use lora_data::{ChatTemplate, Format, Manifest, Message, RawRows, Record, Split};
use serde_json::json;
use std::io::Cursor;
use std::path::Path;

/// A template's source, rendered over a chat. Templates with loops over `range` are left out: they may run for ever.
pub(crate) fn template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else {
        return;
    };
    if source.contains("range") || source.len() > 4000 {
        return;
    }
    let Ok(template) = ChatTemplate::new(source, Some("<s>"), Some("</s>")) else {
        return;
    };
    let _ = template.render(
        &chat(),
        Some(&json!([{"name": "look", "parameters": {}}])),
        true,
    );
    let _ = template.render(&[], None, false);
}

fn chat() -> Vec<Message> {
    let messages = json!([
        {"role": "system", "content": "brief"},
        {"role": "user", "content": "hi \"there\" <é>"},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "look", "arguments": {"n": 1.5}}}]},
    ]);
    serde_json::from_value(messages).unwrap()
}

pub(crate) fn records(bytes: &[u8]) {
    let reader = Cursor::new(bytes.to_vec());
    rows(RawRows::from_reader(
        Path::new("rows"),
        reader,
        Format::default(),
    ));
}

pub(crate) fn csv(bytes: &[u8]) {
    rows(RawRows::open(
        &written("rows.csv", bytes),
        Format::default(),
    ));
    rows(RawRows::open(
        &written("rows.tsv", bytes),
        Format::default(),
    ));
}

fn rows(opened: Result<RawRows, lora_data::Error>) {
    for row in opened.into_iter().flatten().take(1000) {
        // After a row that can't be read there is nothing more to read.
        let Ok(row) = row else {
            return;
        };
        let _ = Record::from_json(&row.value);
    }
}

/// A parquet file as a dataset and as raw records, and the text beside it.
pub(crate) fn parquet(bytes: &[u8]) {
    let path = written("train.parquet", bytes);
    let _ = Split::read(&path, "train");
    rows(RawRows::open(&path, Format::default()));
    let manifest = written("dataset.json", bytes);
    let _ = Manifest::read(manifest.parent().unwrap());
}
