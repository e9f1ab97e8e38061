//! What is shown: a table for people, events for machines.
use crate::metrics_table;
use lora_cli::{Layout, Ui, wrapped};
use lora_records::{Comparison, ModelReport, Report};
use serde_json::json;

/// Columns of `pass` or `FAIL` before a gate.
const GATE_INDENT: usize = 6;

/// Shows the report on stdout.
pub(crate) fn show(report: &Report, ui: &Ui) {
    if ui.json() {
        for model in &report.models {
            ui.event(&tagged("model", json!(model)));
        }
        for slice in &report.slices {
            ui.event(&tagged("slice", json!(slice)));
        }
        for comparison in &report.comparisons {
            ui.event(&tagged("comparison", json!(comparison)));
        }
        for gate in &report.gates {
            ui.event(&tagged("gate", json!(gate)));
        }
        return;
    }
    for line in lines(report, ui.layout()) {
        ui.out(&line);
    }
}

fn tagged(event: &str, body: serde_json::Value) -> serde_json::Value {
    let mut object = serde_json::Map::from_iter([("event".to_owned(), json!(event))]);
    if let serde_json::Value::Object(fields) = body {
        object.extend(fields);
    }
    object.into()
}

/// The table and the gates, line by line.
pub(crate) fn lines(report: &Report, layout: Layout) -> Vec<String> {
    let about = format!(
        "{} · split {} · {} rows · {} supervised tokens",
        report.data.display(),
        report.split,
        report.rows,
        report.tokens
    );
    let mut lines = layout.paragraph(&about);
    let head = [
        "model",
        "loss",
        "perplexity",
        "token acc.",
        "exact match",
        "loss − base (± s.e.)",
    ]
    .map(str::to_owned);
    let rows: Vec<Vec<String>> = std::iter::once(head)
        .chain(report.models.iter().map(cells))
        .map(Vec::from)
        .collect();
    lines.extend(layout.table(&rows));
    if let Some(reason) = &report.generation.skipped {
        lines.extend(layout.paragraph(&format!("no exact match: {reason}")));
    }
    lines.extend(metrics_table::lines(report, layout));
    for verdict in verdicts(report) {
        lines.extend(layout.paragraph(&verdict));
    }
    for gate in &report.gates {
        let verdict = if gate.passed { "pass" } else { "FAIL" };
        let gate = format!("{} ({}): {}", gate.gate, gate.model, gate.reason);
        if layout.is_markdown() {
            lines.extend(layout.paragraph(&format!("{verdict}: {gate}")));
            continue;
        }
        let parts = wrapped(&gate, layout.width().saturating_sub(GATE_INDENT));
        for (number, part) in parts.iter().enumerate() {
            let verdict = if number == 0 { verdict } else { "" };
            lines.push(format!("{verdict:GATE_INDENT$}{part}"));
        }
    }
    lines
}

/// The adapter with the least loss against each of the others; report.json has all pairs.
fn verdicts(report: &Report) -> impl Iterator<Item = String> + '_ {
    let adapters = report.models.get(1..).unwrap_or_default();
    let best = adapters
        .iter()
        .min_by(|a, b| a.nll.total_cmp(&b.nll))
        .map(|model| model.name.as_str());
    let with_best =
        move |c: &&Comparison| best == Some(c.first.as_str()) || best == Some(c.second.as_str());
    report
        .comparisons
        .iter()
        .filter(with_best)
        .map(|c| c.verdict.clone())
}

fn cells(model: &ModelReport) -> [String; 6] {
    [
        model.name.clone(),
        format!("{:.4}", model.nll),
        format!("{:.3}", model.perplexity),
        format!("{:.1} %", model.token_accuracy.rate * 100.0),
        model.exact_match.as_ref().map_or("-".to_owned(), |m| {
            format!("{}/{} ({:.1} %)", m.matched, m.rows, m.rate * 100.0)
        }),
        model
            .difference_to_base
            .as_ref()
            .map_or("-".to_owned(), |d| {
                let error = d
                    .standard_error
                    .map_or("?".to_owned(), |error| format!("{error:.4}"));
                format!("{:+.4} ± {error}", d.nll)
            }),
    ]
}
