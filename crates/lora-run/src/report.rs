//! What people see of a pipeline: the command lines of a dry run and the table at the end.
use crate::resolve::{Action, Step};
use crate::tools::Tool;
use crate::values::{quoted, shown};
use lora_cli::{Layout, human_bytes, table};
use lora_receipt::Receipt;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

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

/// The rows as an aligned table of at most so many columns; what does not fit stands below its row, indented.
pub(crate) fn summary(rows: &[Row], layout: Layout) -> String {
    let wide = cells(rows, usize::MAX);
    if layout.is_markdown() {
        return layout.table(&wide).join("\n");
    }
    let columns = layout.width();
    let text = table(&wide);
    if text.lines().all(|line| line.chars().count() <= columns) {
        return text;
    }
    let name = (columns / 2).max(16);
    let short = cells(rows, name).into_iter();
    let short: Vec<Vec<String>> = short.map(|row| row[..4].to_vec()).collect();
    let mut narrow = String::new();
    for (number, line) in table(&short).lines().enumerate() {
        narrow += line;
        narrow.push('\n');
        let row = number.checked_sub(1).and_then(|index| rows.get(index));
        for detail in row.into_iter().flat_map(details) {
            for part in wrapped(&detail, columns.saturating_sub(4).max(16)) {
                narrow += &format!("    {part}\n");
            }
        }
    }
    narrow
}

/// What stands below a row of a narrow table.
fn details(row: &Row) -> Vec<String> {
    let mut found = vec![figures(&row.results), row.reason.clone()];
    found.retain(|text| !text.is_empty());
    found
}

/// All cells, the header first; a step's name takes at most `name` columns.
fn cells(rows: &[Row], name: usize) -> Vec<Vec<String>> {
    let header = [
        "step",
        "status",
        "seconds",
        "peak memory",
        "results",
        "reason",
    ];
    let line = |row: &Row| {
        let seconds = match row.status {
            "skipped" => "-".to_owned(),
            _ => format!("{:.1}", row.seconds),
        };
        vec![
            cut(&row.step, name),
            row.status.to_owned(),
            seconds,
            row.peak_rss_bytes.map_or("-".to_owned(), human_bytes),
            figures(&row.results),
            row.reason.clone(),
        ]
    };
    let header = header.map(str::to_owned).to_vec();
    std::iter::once(header)
        .chain(rows.iter().map(line))
        .collect()
}

/// A text of at most so many columns, cut in its middle.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= columns {
        return text.to_owned();
    }
    let front = columns.saturating_sub(1).div_ceil(2);
    let back = columns.saturating_sub(1) - front;
    let beginning: String = letters[..front].iter().collect();
    let end: String = letters[letters.len() - back..].iter().collect();
    format!("{beginning}…{end}")
}

/// A text as lines of at most so many columns, broken between words where it can be.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for part in letters.chunks(columns) {
            let part: String = part.iter().collect();
            let used = lines.last().map_or(0, |line| line.chars().count());
            if used > 0 && used + 1 + part.chars().count() > columns {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                if !line.is_empty() {
                    line.push(' ');
                }
                *line += &part;
            }
        }
    }
    lines
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
            let options = shell_options().join(" ");
            words.push(format!("OUT={out} sh {options} -c {}", quoted(line)));
            words.join(" ")
        }
    }
}

/// With what `sh` runs a line: it stops at the first command that fails, also in a pipe where the shell can do that, and
/// at a variable that is not set.
pub(crate) fn shell_options() -> &'static [&'static str] {
    static CAN_PIPEFAIL: OnceLock<bool> = OnceLock::new();
    let can_pipefail = *CAN_PIPEFAIL.get_or_init(|| {
        let asked = Command::new("sh")
            .args(["-c", "set -o pipefail"])
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    });
    if can_pipefail {
        &["-eu", "-o", "pipefail"]
    } else {
        &["-eu"]
    }
}

/// `IN_*` and `WITH_*` of a shell line; several values are separated by spaces.
pub(crate) fn environment(step: &Step) -> Vec<(String, String)> {
    let name =
        |prefix: &str, key: &str| format!("{prefix}_{}", key.to_uppercase().replace('-', "_"));
    let absolute = |path: &std::path::Path| match lora_cli::is_hub(path) {
        true => path.to_path_buf(),
        false => std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
    };
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
