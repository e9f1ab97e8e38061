//! Is the data what it should be? Masks, leakage, duplicates, ends of turns, refused rows.
use super::finding::{Cause, Finding};
use super::patient::Patient;
use crate::run::{DatasetFacts, SplitFacts, quoted};

/// Shares of rows above which something is a finding.
const MOST_DUPLICATES: f64 = 0.05;
const MOST_LEAKED: f64 = 0.05;
const MOST_REFUSED: f64 = 0.5;

/// All findings about the rows.
pub(crate) fn findings(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(data) = &patient.run.dataset else { return Vec::new() };
    let all = [mask_covers_answer, prompt_in_loss, leakage, duplicates, no_end_of_turn, refused];
    all.iter().filter_map(|look| look(data)).collect()
}

fn percent(part: usize, of: usize) -> f64 {
    100.0 * part as f64 / of.max(1) as f64
}

fn show(data: &DatasetFacts) -> Option<String> {
    Some(format!("lora-prep show {}", quoted(&data.path.display().to_string())))
}

fn supervision(train: &SplitFacts) -> String {
    format!(
        "{} of {} tokens are supervised ({:.1} %), {:.1} a row",
        train.supervised,
        train.tokens,
        100.0 * train.supervised_share(),
        train.supervised as f64 / train.rows.max(1) as f64
    )
}

fn mask_covers_answer(data: &DatasetFacts) -> Option<Finding> {
    let train = &data.train;
    let only_ends = train.single * 2 > train.rows && train.common_end * 2 > train.rows;
    if !only_ends && train.supervised_share() >= 0.01 {
        return None;
    }
    let single = (train.single > 0)
        .then(|| format!("{} of {} rows supervise one token only: the end of the turn?", train.single, train.rows));
    Some(
        Finding::new(Cause::MaskCoversAnswer, "the mask covers the answers: next to nothing is learned")
            .seen(supervision(train))
            .seen_if(single)
            .attempt("look at the rows, supervised tokens marked", show(data))
            .attempt("prepare the raw rows with lora-prep, which supervises the completion and its end", None),
    )
}

fn prompt_in_loss(data: &DatasetFacts) -> Option<Finding> {
    let train = &data.train;
    if train.unmasked * 10 < train.rows * 9 || train.shared_start < 3 {
        return None;
    }
    Some(
        Finding::new(Cause::PromptInLoss, "the prompts are learned too: the loss is mostly theirs")
            .seen(supervision(train))
            .seen(format!(
                "{} of {} rows supervise every token, though nearly all begin with the same {} tokens, as a template does",
                train.unmasked, train.rows, train.shared_start
            ))
            .attempt(
                "give the rows as messages or as prompt and completion, not as text: then only the answer is supervised",
                Some("lora-prep rows.jsonl --base MODEL --out dataset".to_owned()),
            )
            .attempt("look at the rows, supervised tokens marked", show(data)),
    )
}

fn leakage(data: &DatasetFacts) -> Option<Finding> {
    let valid = data.valid.as_ref()?;
    if data.leaked < 2 || (data.leaked as f64) < MOST_LEAKED * valid.rows as f64 {
        return None;
    }
    Some(
        Finding::new(Cause::Leakage, "held-out prompts also train: the valid loss flatters the adapter")
            .seen(format!(
                "{} of {} valid rows ({:.0} %) have a prompt that also stands in train, case and punctuation aside",
                data.leaked,
                valid.rows,
                percent(data.leaked, valid.rows)
            ))
            .attempt(
                "split by prompt: lora-prep keeps rows of one prompt together; make spellings equal before",
                Some("lora-prep raw.jsonl --base MODEL --valid 0.1 --out dataset".to_owned()),
            ),
    )
}

fn duplicates(data: &DatasetFacts) -> Option<Finding> {
    let train = &data.train;
    if (train.duplicates as f64) < (MOST_DUPLICATES * train.rows as f64).max(2.0) {
        return None;
    }
    Some(
        Finding::new(Cause::Duplicates, "many rows stand more than once")
            .seen(format!(
                "{} of {} train rows ({:.0} %) equal an earlier one, token for token: each epoch repeats them",
                train.duplicates,
                train.rows,
                percent(train.duplicates, train.rows)
            ))
            .attempt(
                "prepare again without --keep-duplicates",
                Some("lora-prep raw.jsonl --base MODEL --out dataset".to_owned()),
            ),
    )
}

fn no_end_of_turn(data: &DatasetFacts) -> Option<Finding> {
    let train = &data.train;
    if train.unmasked * 2 > train.rows || train.rows < 10 || train.common_end * 2 > train.rows {
        return None;
    }
    Some(
        Finding::new(Cause::NoEndOfTurn, "the answers have no common end: the model doesn't learn to stop")
            .seen(format!(
                "the most frequent last token ends {} of {} rows ({:.0} %)",
                train.common_end,
                train.rows,
                percent(train.common_end, train.rows)
            ))
            .attempt(
                "use a chat template, which ends a turn with a special token (not --no-chat-template)",
                Some("lora-prep raw.jsonl --base MODEL --out dataset".to_owned()),
            ),
    )
}

fn refused(data: &DatasetFacts) -> Option<Finding> {
    let manifest = data.manifest.as_ref()?;
    let reasons = || manifest.refused.iter().filter(|(reason, _)| !reason.starts_with("duplicate"));
    let refused: usize = reasons().map(|(_, rows)| rows).sum();
    if (refused as f64) < MOST_REFUSED * manifest.rows_read as f64 {
        return None;
    }
    let mut by_size: Vec<_> = reasons().collect();
    by_size.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
    let mut finding = Finding::new(Cause::RowsRefused, "most raw rows were refused").seen(format!(
        "{refused} of {} rows ({:.0} %) were not used",
        manifest.rows_read,
        percent(refused, manifest.rows_read)
    ));
    for (reason, rows) in by_size.into_iter().take(3) {
        finding = finding.seen(format!("{rows} {reason}"));
    }
    Some(finding.attempt("mend the most frequent reason, or raise --max-length if rows are too long", None))
}
