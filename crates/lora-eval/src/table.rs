//! What is shown: a table for people, events for machines.
use lora_cli::Ui;
use lora_records::{Comparison, ModelReport, Report};
use serde_json::json;

/// Shows the report on stdout.
pub(crate) fn show(report: &Report, ui: &Ui) {
    if ui.json() {
        for model in &report.models {
            ui.event(&tagged("model", json!(model)));
        }
        for comparison in &report.comparisons {
            ui.event(&tagged("comparison", json!(comparison)));
        }
        for gate in &report.gates {
            ui.event(&tagged("gate", json!(gate)));
        }
        return;
    }
    for line in lines(report) {
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
pub(crate) fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![format!(
        "{} · split {} · {} rows · {} supervised tokens",
        report.data.display(),
        report.split,
        report.rows,
        report.tokens
    )];
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
    lines.extend(lora_cli::table(&rows).lines().map(str::to_owned));
    if let Some(reason) = &report.generation.skipped {
        lines.push(format!("no exact match: {reason}"));
    }
    lines.extend(verdicts(report));
    for gate in &report.gates {
        let verdict = if gate.passed { "pass" } else { "FAIL" };
        lines.push(format!(
            "{verdict}  {} ({}): {}",
            gate.gate, gate.model, gate.reason
        ));
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
