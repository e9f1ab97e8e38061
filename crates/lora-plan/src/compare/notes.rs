//! What can be said of the results of a comparison together.
use super::row::Compared;
use crate::run::quoted;

/// What can be said of the results together.
pub(super) fn notes(rows: &[Compared]) -> Vec<String> {
    let mut notes = Vec::new();
    if Compared::have_other_data(rows) {
        notes.push(
            "The runs have other data: their valid losses are not on the same rows.".to_owned(),
        );
        return notes;
    }
    let mut measured: Vec<&Compared> = rows
        .iter()
        .filter(|row| row.difference_to_base.is_some())
        .collect();
    measured.sort_by(|a, b| a.loss_interval().0.total_cmp(&b.loss_interval().0));
    if rows.iter().any(|row| row.best) {
        notes.push("* is the lowest loss.".to_owned());
    }
    let [best, next, ..] = &measured[..] else {
        return notes;
    };
    let apart = best.loss_interval().2 < next.loss_interval().1;
    notes.push(if apart {
        format!(
            "{} has the lowest loss; its interval lies below that of {}.",
            best.run, next.run
        )
    } else {
        format!(
            "The intervals of {} and {} overlap: these figures alone don't tell which is better.",
            best.run, next.run
        )
    });
    if let (false, Some((base, data))) = (apart, &best.inputs) {
        notes.push(format!(
            "A paired test does: lora-eval --base {} --data {} --adapter {} --adapter {} --out ab",
            quoted(base),
            quoted(data),
            quoted(&best.folder),
            quoted(&next.folder)
        ));
    }
    notes
}
