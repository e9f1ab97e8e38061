//! Do the answers belong to their prompts? All the same, or no better foretold than by who reads no prompt.
use super::data::show_rows;
use super::finding::{Cause, Finding};
use super::patient::Patient;

/// A share of equal answers above which there is nothing to tell apart.
const ALL_EQUAL: f64 = 0.95;

/// A run that learned how often each answer comes stands at the loss of the guess; one that stands above this much of it
/// has learned nothing of the prompts, and one far above it has not learned at all.
const NO_BETTER: f64 = 0.95;
const LEARNED: f64 = 1.3;

/// All findings about the answers.
pub(crate) fn findings(patient: &Patient<'_>) -> Vec<Finding> {
    [all_equal(patient), shuffled(patient)]
        .into_iter()
        .flatten()
        .collect()
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

fn shuffled(patient: &Patient<'_>) -> Option<Finding> {
    let data = patient.run.dataset.as_ref()?;
    let guess = data.answers.guess?;
    let training = &patient.run.training;
    let losses = training.evals.iter().map(|eval| eval.valid_loss);
    let best = losses.fold(f64::INFINITY, f64::min);
    let curve = patient.curve?;
    let has_learned = curve.tail < LEARNED * guess;
    if best < NO_BETTER * guess || !has_learned || guess < 0.01 || best.is_infinite() {
        return None;
    }
    Some(
        Finding::new(
            Cause::ShuffledLabels,
            "the answers don't follow from their prompts: are the labels shuffled?",
        )
        .seen(format!(
            "the valid loss never fell below {best:.4}; who knows how often each of the {} answers comes and reads no \
             prompt has {guess:.4}",
            data.answers.different
        ))
        .seen(format!("train loss {:.4} over the last steps", curve.tail))
        .attempt(
            "look at the rows: does each answer belong to its prompt?",
            Some(show_rows(&data.path)),
        ),
    )
}
