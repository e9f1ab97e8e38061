//! What people see of a pipeline: the command lines of a dry run and the table at the end.
use crate::resolve::{Action, Step};
use crate::tools::Tool;
use crate::values::{quoted, shown};
use lora_cli::{human_bytes, table};
use lora_receipt::Receipt;
use serde_json::Value;

/// One line of the table at the end.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) step: String,
    /// `ran`, `skipped`, `no` or `failed`.
    pub(crate) status: &'static str,
    pub(crate) reason: String,
    pub(crate) seconds: f64,
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) results: Value,
}

impl Row {
    pub(crate) fn new(
        step: &Step,
        status: &'static str,
        reason: &str,
        seconds: f64,
        receipt: Option<&Receipt>,
    ) -> Self {
        let measured = matches!(step.action, Action::Use(_)); // a shell line's receipt knows only the runner's memory
        Self {
            step: step.id.clone(),
            status,
            reason: reason.to_owned(),
            seconds: (seconds * 1e3).round() / 1e3,
            peak_rss_bytes: receipt
                .filter(|r| measured && r.peak_rss_bytes > 0)
                .map(|r| r.peak_rss_bytes),
            results: receipt.map_or(Value::Null, |r| r.results.clone()),
        }
    }
}

/// The rows as an aligned table.
pub(crate) fn summary(rows: &[Row]) -> String {
    let header = [
        "step",
        "status",
        "seconds",
        "peak memory",
        "results",
        "reason",
    ]
    .map(str::to_owned)
    .to_vec();
    let line = |row: &Row| {
        vec![
            row.step.clone(),
            row.status.to_owned(),
            if row.status == "skipped" {
                "-".to_owned()
            } else {
                format!("{:.1}", row.seconds)
            },
            row.peak_rss_bytes.map_or("-".to_owned(), human_bytes),
            figures(&row.results),
            row.reason.clone(),
        ]
    };
    table(
        &std::iter::once(header)
            .chain(rows.iter().map(line))
            .collect::<Vec<_>>(),
    )
}

/// The first few figures of a receipt's results.
fn figures(results: &Value) -> String {
    let Value::Object(fields) = results else {
        return String::new();
    };
    let one = |(name, value): (&String, &Value)| match value {
        Value::Number(number) if number.is_f64() => {
            Some(format!("{name} {}", four_digits(number.as_f64()?)))
        }
        Value::Number(_) | Value::Bool(_) => Some(format!("{name} {value}")),
        Value::String(text) if text.chars().count() <= 24 => Some(format!("{name} {text}")),
        _ => None,
    };
    fields
        .iter()
        .filter_map(one)
        .take(4)
        .collect::<Vec<_>>()
        .join(", ")
}

fn four_digits(value: f64) -> String {
    match value.abs() {
        x if x >= 1000.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The command line of a step, to copy and paste.
pub(crate) fn command_line(step: &Step, tool: Option<&Tool>, arguments: &[String]) -> String {
    match (&step.action, tool) {
        (Action::Use(_), Some(tool)) => {
            let words = std::iter::once(tool.program.to_string_lossy().into_owned())
                .chain(arguments.iter().cloned());
            words
                .map(|word| quoted(&word))
                .collect::<Vec<_>>()
                .join(" ")
        }
        (Action::Use(name), None) => name.clone(),
        (Action::Run(line), _) => {
            let out = quoted(&step.out.to_string_lossy());
            let mut words = vec![format!("mkdir -p {out} &&")];
            words.extend(
                environment(step)
                    .iter()
                    .map(|(name, value)| format!("{name}={}", quoted(value))),
            );
            words.push(format!("OUT={out} sh -c {}", quoted(line)));
            words.join(" ")
        }
    }
}

/// `IN_*` and `WITH_*` of a shell line; several values are separated by spaces.
pub(crate) fn environment(step: &Step) -> Vec<(String, String)> {
    let name =
        |prefix: &str, key: &str| format!("{prefix}_{}", key.to_uppercase().replace('-', "_"));
    let absolute =
        |path: &std::path::Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let inputs = step.inputs.iter().map(|(key, paths)| {
        let paths: Vec<String> = paths
            .iter()
            .map(|input| absolute(&input.path).to_string_lossy().into_owned())
            .collect();
        (name("IN", key), paths.join(" "))
    });
    let with = step.with.iter().map(|(key, value)| match value {
        Value::Array(items) => (
            name("WITH", key),
            items.iter().map(shown).collect::<Vec<_>>().join(" "),
        ),
        one => (name("WITH", key), shown(one)),
    });
    inputs.chain(with).collect()
}
