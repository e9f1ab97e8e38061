//! Do the answers belong to their prompts? Answers that are all the same, and answers that fit any prompt.
use super::data::show_rows;
use super::finding::{Cause, Finding};
use super::patient::Patient;
use crate::run::Evaluation;

/// A share of equal answers above which there is nothing to tell apart.
const ALL_EQUAL: f64 = 0.95;

/// All findings about the answers.
pub(crate) fn findings(patient: &Patient<'_>) -> Vec<Finding> {
    let reports = patient.run.evaluations.iter();
    let shuffled = reports.filter_map(|report| shuffled(report, patient));
    all_equal(patient)
        .into_iter()
        .chain(shuffled.take(1))
        .collect()
}

/// An adapter that was trained on answers to other prompts learns their form: its loss falls, and stays where it is when
/// the prompts are swapped between rows, or rises less than the base's. Lengths and frequencies don't tell such rows from
/// others; this does.
fn shuffled(report: &Evaluation, patient: &Patient<'_>) -> Option<Finding> {
    let (_, _, high) = report.difference?;
    let [own, to_base] = report.prompt_effect?;
    if high >= 0.0 || own.low > 0.0 && to_base.high >= 0.0 {
        return None;
    }
    let data = patient.run.dataset.as_ref();
    Some(
        Finding::new(
            Cause::AnswersOfOtherPrompts,
            "the answers don't follow from their prompts: only their form was learned",
        )
        .seen(format!(
            "{}: loss {:.4}, the base's {:.4}; with the prompts swapped between rows it changes by {own}",
            report.folder.display(),
            report.nll,
            report.base_nll
        ))
        .seen(format!("that less the base's: {to_base}"))
        .attempt(
            "look at the rows: does each answer belong to its prompt? A column that was sorted or shuffled by itself does this",
            data.map(|data| show_rows(&data.path)),
        )
        .attempt(
            "if they do belong together, what the answer needs does not stand in the prompt, or the run is too short to learn it",
            None,
        ),
    )
}

fn all_equal(patient: &Patient<'_>) -> Option<Finding> {
    let data = patient.run.dataset.as_ref()?;
    let (rows, answers) = (data.train.rows, &data.answers);
    if rows < 10 || (answers.most_common as f64) < ALL_EQUAL * rows as f64 {
        return None;
    }
    let text: String = answers.text.chars().take(60).collect();
    Some(
        Finding::new(
            Cause::AllEqual,
            "the answers are all the same: it is learned without a look at the prompts",
        )
        .seen(format!(
            "{} of {rows} train rows have one answer: {text:?}",
            answers.most_common
        ))
        .attempt(
            "look at the rows: is the right column the completion, and are there others?",
            Some(show_rows(&data.path)),
        ),
    )
}
