//! What was made, as a table for people and as events for machines.
use crate::model::Model;
use crate::prepare::Prepared;
use crate::show;
use lora_cli::{Ui, table};
use lora_data::Manifest;
use serde_json::json;

/// Prints the splits, the refused rows and one example; warns of what is suspicious.
pub(crate) fn print(manifest: &Manifest, prepared: &Prepared, model: &Model, ui: &Ui) {
    for (reason, rows) in &manifest.refused {
        ui.event(&json!({"event": "refused", "reason": reason, "rows": rows}));
    }
    for (name, summary) in manifest.splits.iter() {
        ui.event(&json!({"event": "split", "split": name, "summary": summary}));
    }
    if let Some(row) = prepared.train.examples.first() {
        let text = show::Text::of(row, None);
        text.lines(&show::style(ui), 12)
            .iter()
            .for_each(|line| ui.out(line));
        ui.out("");
    }
    table(&splits(manifest))
        .lines()
        .for_each(|line| ui.out(line));
    let refused: usize = manifest.refused.values().sum();
    if refused > 0 {
        ui.out("");
        ui.out(&format!(
            "refused {refused} of {} rows:",
            manifest.rows_read
        ));
        manifest
            .refused
            .iter()
            .for_each(|(reason, rows)| ui.out(&format!("  {rows} {reason}")));
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
    let refused: usize = manifest.refused.values().sum();
    if refused * 2 > manifest.rows_read {
        ui.warn(&format!(
            "{refused} of {} rows were refused",
            manifest.rows_read
        ));
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
    let rows = || {
        prepared
            .train
            .examples
            .iter()
            .filter(|row| !row.prompt.is_empty())
    };
    let endless = rows().filter(|row| !model.encoder.ends_turn(row)).count();
    if endless > 0 {
        ui.warn(&format!(
            "{endless} of {} rows don't end in a special token: a model trained on them doesn't learn to stop",
            prepared.train.examples.len()
        ));
    }
}
