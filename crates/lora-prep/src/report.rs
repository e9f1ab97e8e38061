//! What was made, as a table for people and as events for machines.
use crate::model::Model;
use crate::prepared::Prepared;
use crate::text::{Text, style};
use lora_cli::Ui;
use lora_data::{IGNORE, Manifest};
use serde_json::json;

/// Most added tokens that are named.
const SHOWN: usize = 8;

/// Prints the splits, the refused rows and one example; warns of what is suspicious.
pub(crate) fn print(manifest: &Manifest, prepared: &Prepared, model: &Model, ui: &Ui) {
    for (reason, rows, first) in prepared.refused.iter() {
        ui.event(&json!({"event": "refused", "reason": reason, "rows": rows, "first": first}));
    }
    for (key, rows, first) in prepared.unused.iter() {
        ui.event(&json!({"event": "unused-key", "key": key, "rows": rows, "first": first}));
    }
    for (note, rows, first) in prepared.notes.iter() {
        ui.event(&json!({"event": "note", "note": note, "rows": rows, "first": first}));
    }
    for (source, count) in prepared.sources() {
        ui.event(&json!({"event": "source", "source": source, "counts": count}));
    }
    for (name, summary) in manifest.splits.iter() {
        ui.event(&json!({"event": "split", "split": name, "summary": summary}));
    }
    if let Some(row) = &prepared.train.first {
        let decode = |ids: &[u32]| model.encoder.decode(ids).unwrap_or_else(|e| e.to_string());
        let has_several = row
            .labels
            .iter()
            .skip(row.prompt_ids().len())
            .any(|l| *l == IGNORE);
        let text = match has_several {
            true => Text::runs(row, decode),
            false => Text::of(row, None),
        };
        text.lines(&style(ui), 12)
            .iter()
            .for_each(|line| ui.out(line));
        ui.out("");
    }
    ui.table(&splits(manifest));
    if !manifest.added_tokens.is_empty() {
        ui.say(&format!(
            "tokens added to the model's: {}; the dataset carries the tokenizer that knows them",
            named(&manifest.added_tokens)
        ));
    }
    if !prepared.sources().is_empty() {
        ui.out("");
        let mut rows = vec![
            ["source", "read", "usable", "rows"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(prepared.sources().iter().map(|(name, count)| {
            let counts = [count.read, count.usable, count.rows].map(|n| n.to_string());
            [vec![name.clone()], counts.to_vec()].concat()
        }));
        ui.table(&rows);
    }
    let refused: usize = manifest.refused.values().sum();
    if refused > 0 {
        ui.out("");
        ui.out(&format!(
            "refused {refused} of {} rows:",
            manifest.rows_read
        ));
        for (reason, rows, first) in prepared.refused.iter() {
            ui.out(&format!("  {rows} {reason} (first: {first})"));
        }
    }
    if !prepared.notes.is_empty() {
        ui.out("");
        ui.out("of the rows kept:");
        for (note, rows, first) in prepared.notes.iter() {
            ui.out(&format!("  {rows} {note} (first: {first})"));
        }
    }
    if prepared.joined > 0 {
        ui.out("");
        ui.out(&format!(
            "{} prompts stay in the split of another one that is nearly the same, of the same chat or group",
            prepared.joined
        ));
    }
    if !prepared.unused.is_empty() {
        let keys = prepared.unused.iter();
        let keys: Vec<String> = keys
            .map(|(key, rows, _)| format!("{key} ({rows})"))
            .collect();
        ui.out("");
        ui.out(&format!(
            "keys that are not read, in how many rows: {}",
            keys.join(", ")
        ));
    }
    warn(manifest, prepared, model, ui);
}

fn splits(manifest: &Manifest) -> Vec<Vec<String>> {
    let header = [
        "split",
        "rows",
        "prompts",
        "tokens",
        "supervised",
        "a row: median",
        "90 %",
        "max",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (name, summary) in manifest.splits.iter() {
        let share = 100.0 * summary.supervised_tokens as f64 / summary.tokens.max(1) as f64;
        rows.push(vec![
            name.to_owned(),
            summary.rows.to_string(),
            summary.prompts.to_string(),
            summary.tokens.to_string(),
            format!("{} ({share:.0} %)", summary.supervised_tokens),
            summary.length.p50.to_string(),
            summary.length.p90.to_string(),
            summary.length.max.to_string(),
        ]);
    }
    rows
}

fn warn(manifest: &Manifest, prepared: &Prepared, model: &Model, ui: &Ui) {
    if prepared.leaked() > 0 {
        ui.warn(&format!(
            "{} held-out rows ask what rows to train on ask as well, but for case, spaces and punctuation: what is measured \
             on them is flattering",
            prepared.leaked()
        ));
    }
    let refused: usize = manifest.refused.values().sum();
    if refused * 2 > manifest.rows_read {
        ui.warn(&format!(
            "{refused} of {} rows were refused",
            manifest.rows_read
        ));
    }
    if model.lacks_template && prepared.train.with_prompt > 0 {
        ui.warn(
            "this base has no chat template: prompt and completion are joined as they are, and a model trained so is used \
             so (--template FILE names another way, --no-chat-template says that this one is meant)",
        );
    }
    if let Some(of_base) = &model.base_system
        && manifest.system.as_ref() != Some(of_base)
    {
        ui.warn(&format!(
            "the base was trained with the system text {}, and these rows are not written with it: --system gives \
             it to rows that bring none",
            lora_checkpoint::shown(of_base)
        ));
    }
    prepared.arguments.say(ui);
    let endless = prepared.train.endless;
    if endless > 0 {
        ui.warn(&format!(
            "{endless} of {} rows don't end in a special token: a model trained on them doesn't learn to stop",
            prepared.train.rows
        ));
    }
}

/// The first of them, and how many more there are.
fn named(tokens: &[String]) -> String {
    let first = tokens.len().min(SHOWN);
    let mut text = tokens[..first].join(", ");
    if tokens.len() > SHOWN {
        text += &format!(" and {} more", tokens.len() - SHOWN);
    }
    text
}
