//! What a finished pipeline means: the evaluation's figures before and after, two answers, and what to do next.
use crate::lockfile::Finished;
use crate::report::{cut, wrapped};
use crate::values::quoted;
use lora_receipt::{Artefact, Receipt};
use lora_records::{ModelReport, Prediction, Report, read_predictions};
use std::path::Path;

/// Answers that are shown.
const ANSWERS: usize = 2;

/// Evaluations that are shown: a sweep's are told by `lora-plan compare`.
const EVALUATIONS: usize = 3;

/// All of it, in lines of at most so many columns; empty where nothing was trained or measured.
pub(crate) fn lines(finished: &[Finished<'_>], folder: &Path, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let of_tool = |tool: &'static str| {
        finished
            .iter()
            .filter(move |step| step.receipt.tool == tool)
    };
    for step in of_tool("lora-eval").take(EVALUATIONS) {
        lines.extend(evaluation(&step.step.id, &step.receipt, columns));
    }
    let trainings = of_tool("lora-train").count();
    if trainings == 0 {
        return lines;
    }
    let folder = quoted(&folder.display().to_string());
    lines.push(String::new());
    lines.push("next:".to_owned());
    let mut next = |what: &str, command: String| lines.push(format!("  {what:<14}{command}"));
    if trainings > 1 {
        next("compare", format!("lora-plan compare {folder}"));
    }
    next("look closely", format!("lora-plan doctor {folder}"));
    for step in finished {
        if let Some(model) = gguf_model(&step.receipt) {
            next("use the model", format!("llama-cli -m {}", quoted(&model)));
        }
    }
    lines
}

/// The GGUF model that a step wrote; none for adapters, which need their base.
fn gguf_model(receipt: &Receipt) -> Option<String> {
    let is_model = receipt.artefact == Artefact::Gguf && receipt.config["model"].is_string();
    let file = receipt.outputs.iter().find(|output| {
        let ending = output.path.extension();
        ending.is_some_and(|ending| ending == "gguf")
    })?;
    let path = if receipt.out.is_dir() {
        receipt.out.join(&file.path)
    } else {
        receipt.out.clone()
    };
    is_model.then(|| path.display().to_string())
}

/// The figures and answers of one report.
fn evaluation(step: &str, receipt: &Receipt, columns: usize) -> Vec<String> {
    let read = Report::read(&receipt.out).and_then(|report| {
        let rows = read_predictions(&receipt.out)?;
        Ok((report, rows))
    });
    let (report, rows) = match read {
        Ok(read) => read,
        Err(error) => return vec![String::new(), format!("{step}: {error}")],
    };
    let Some(base) = report.base_model() else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for model in report.models.iter().filter(|model| model.adapter.is_some()) {
        let head = format!(
            "{step}: {} on split {}, {} rows, before → after",
            model.name, report.split, report.rows
        );
        lines.push(String::new());
        lines.push(cut(&head, columns));
        lines.push(format!("  loss         {:.4} → {:.4}", base.nll, model.nll));
        if let Some(exact) = exact_match(base, model) {
            lines.push(format!("  exact match  {exact}"));
        }
        for row in telling(&rows, &base.name, &model.name) {
            lines.extend(answers(row, &base.name, &model.name, columns));
        }
    }
    lines
}

fn exact_match(base: &ModelReport, model: &ModelReport) -> Option<String> {
    let (before, after) = (base.exact_match.as_ref()?, model.exact_match.as_ref()?);
    Some(format!(
        "{:.1} % → {:.1} % ({} of {} answers)",
        100.0 * before.rate,
        100.0 * after.rate,
        after.matched,
        after.rows
    ))
}

/// The rows that tell most: an answer that has become right, and one that is still wrong; else the first ones.
fn telling<'r>(rows: &'r [Prediction], base: &str, model: &str) -> Vec<&'r Prediction> {
    let exact = |row: &Prediction, name: &str| row.of(name).and_then(|answer| answer.exact);
    let answered = || rows.iter().filter(|row| exact(row, model).is_some());
    let learned =
        answered().find(|row| exact(row, model) == Some(true) && exact(row, base) == Some(false));
    let wrong = answered().find(|row| exact(row, model) == Some(false));
    let mut found: Vec<&Prediction> = learned.into_iter().chain(wrong).collect();
    for row in answered() {
        if found.len() < ANSWERS && !found.iter().any(|known| known.id == row.id) {
            found.push(row);
        }
    }
    found
}

/// A prompt, what was expected, and what was answered.
fn answers(row: &Prediction, base: &str, model: &str, columns: usize) -> Vec<String> {
    let text = |name: &str| row.of(name).and_then(|answer| answer.text.as_deref());
    let told = [
        ("prompt", Some(row.prompt.as_str())),
        ("expected", row.expected.as_deref()),
        ("before", text(base)),
        ("after", text(model)),
    ];
    let mut lines = vec![String::new()];
    for (label, text) in told {
        let text = text.unwrap_or_default();
        let room = columns.saturating_sub(12).max(16);
        let whole = wrapped(text, usize::MAX).concat();
        let shown = if whole.is_empty() {
            "(nothing)".to_owned()
        } else {
            cut(&whole, room)
        };
        lines.push(format!("  {label:<10}{shown}"));
    }
    lines
}
