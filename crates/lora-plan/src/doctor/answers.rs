//! Is there something to tell apart? Answers that are all the same.
use super::data::show_rows;
use super::finding::{Cause, Finding};
use super::patient::Patient;

/// A share of equal answers above which there is nothing to tell apart.
const ALL_EQUAL: f64 = 0.95;

/// All findings about the answers.
pub(crate) fn findings(patient: &Patient<'_>) -> Vec<Finding> {
    all_equal(patient).into_iter().collect()
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
