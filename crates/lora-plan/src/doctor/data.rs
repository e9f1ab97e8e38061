//! Is the data what it should be? Masks, leakage, duplicates, ends of turns, refused rows.
use super::finding::{Cause, Finding};
use super::patient::Patient;
use crate::run::{CommandLine, DatasetFacts, SplitFacts, prep_again, quoted};
use std::path::Path;

/// Shares of rows above which something is a finding.
const MOST_DUPLICATES: f64 = 0.05;
const MOST_LEAKED: f64 = 0.05;
const MOST_REFUSED: f64 = 0.5;

/// All findings about the rows.
pub(crate) fn findings(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(data) = &patient.run.dataset else {
        return Vec::new();
    };
    let all = [
        mask_covers_answer,
        prompt_in_loss,
        few_supervised,
        leakage,
        leakage_by_growth,
        duplicates,
        no_end_of_turn,
        refused,
    ];
    all.iter().filter_map(|look| look(data)).collect()
}

/// Supervised tokens below which a mean loss says little: over n tokens its standard error is about σ/√n, and a token's
/// loss has a σ of about a nat. To learn from, and to choose the best step by.
const FEW_SUPERVISED: usize = 1000;
const FEW_HELD_OUT: usize = 100;

fn few_supervised(data: &DatasetFacts) -> Option<Finding> {
    let train = &data.train;
    let few = train.supervised < FEW_SUPERVISED;
    let held_out = data
        .valid
        .as_ref()
        .filter(|valid| valid.supervised < FEW_HELD_OUT);
    if mask_covers_answer(data).is_some() || !few && held_out.is_none() {
        return None;
    }
    let title = if few {
        "there is little to learn from"
    } else {
        "too little is held out to judge the run by"
    };
    let mut finding = Finding::new(Cause::FewSupervised, title).seen(supervision(train));
    if let Some(valid) = held_out {
        finding = finding.seen(format!(
            "{} supervised tokens are held out, in {} rows: their mean loss has a standard error of about {:.2} nats (1/√n)",
            valid.supervised,
            valid.rows,
            1.0 / (valid.supervised.max(1) as f64).sqrt()
        ));
    }
    if few {
        finding = finding.attempt(
            "more rows, or longer answers: no setting makes up for them",
            show(data),
        );
    }
    let held_out = held_out.and_then(|_| prep_again(data, &[("valid", Some("0.2".to_owned()))]));
    Some(match held_out {
        Some(command) => finding.attempt("--valid 0.2: hold out more", Some(command)),
        None => finding,
    })
}

fn percent(part: usize, of: usize) -> f64 {
    100.0 * part as f64 / of.max(1) as f64
}

/// The end of a text in one line: a prompt's own words, behind system message and template.
fn excerpt(text: &str) -> String {
    const MOST: usize = 60;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = words.chars().count();
    if length <= MOST {
        words
    } else {
        format!("…{}", words.chars().skip(length - MOST).collect::<String>())
    }
}

fn show(data: &DatasetFacts) -> Option<CommandLine> {
    Some(show_rows(&data.path))
}

/// Shows the rows of a dataset, supervised tokens marked.
pub(super) fn show_rows(data: &Path) -> CommandLine {
    CommandLine::new(format!(
        "lora-prep show {}",
        quoted(&data.display().to_string())
    ))
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
    // A small share alone is no fault: a word may answer a long text. One token a row is, if it is nearly always the same.
    let only_ends = train.single * 2 > train.rows && train.common_end * 20 > train.rows * 19;
    if !only_ends {
        return None;
    }
    let single = (train.single > 0).then(|| {
        format!(
            "{} of {} rows supervise one token only: the end of the turn?",
            train.single, train.rows
        )
    });
    Some(
        Finding::new(
            Cause::MaskCoversAnswer,
            "the mask covers the answers: next to nothing is learned",
        )
        .seen(supervision(train))
        .seen_if(single)
        .attempt("look at the rows, supervised tokens marked", show(data))
        .attempt(
            "prepare the raw rows with lora-prep, which supervises the completion and its end",
            prep_again(data, &[]),
        ),
    )
}

fn prompt_in_loss(data: &DatasetFacts) -> Option<Finding> {
    let train = &data.train;
    // Text cut into blocks is meant to be learned whole.
    let is_text = data
        .receipt
        .as_ref()
        .is_some_and(|receipt| !receipt.config["text-block"].is_null());
    if is_text
        || train.unmasked * 10 < train.rows * 9
        || train.shared_start < 3 && !train.shared_inside
    {
        return None;
    }
    let alike = if train.shared_start < 3 {
        "have the same three tokens within".to_owned()
    } else {
        format!("begin with the same {} tokens", train.shared_start)
    };
    Some(
        Finding::new(Cause::PromptInLoss, "the prompts are learned too: the loss is mostly theirs")
            .seen(supervision(train))
            .seen(format!(
                "{} of {} rows supervise every token, though nearly all {alike}, as a template does",
                train.unmasked, train.rows
            ))
            .attempt(
                "give the raw rows as messages or as prompt and completion, not as text: then only the answer is supervised",
                prep_again(data, &[]),
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
            .seen_if(data.leak.as_ref().map(|prompt| format!("one of them: {}", excerpt(prompt))))
            .attempt(
                "make the spellings of a prompt equal in the raw rows, then split by prompt, as lora-prep does",
                prep_again(data, &[]),
            ),
    )
}

/// Chats that were cut turn by turn before they were divided: a later turn's prompt holds the earlier turn's answer.
fn leakage_by_growth(data: &DatasetFacts) -> Option<Finding> {
    let valid = data.valid.as_ref()?;
    if data.grown < 2 || (data.grown as f64) < MOST_LEAKED * valid.rows as f64 {
        return None;
    }
    Some(
        Finding::new(
            Cause::Leakage,
            "turns of one chat stand on both sides of the split: the valid loss flatters the adapter",
        )
        .seen(format!(
            "{} of {} valid rows ({:.0} %) go on from a train row, prompt and answer, or a train row from them",
            data.grown,
            valid.rows,
            percent(data.grown, valid.rows)
        ))
        .seen_if(
            data.grown_prompt
                .as_ref()
                .map(|prompt| format!("one of them: {}", excerpt(prompt))),
        )
        .attempt(
            "split by chat, as lora-prep does with rows of messages (--group KEY names what belongs together)",
            prep_again(data, &[]),
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
            .attempt("prepare again without --keep-duplicates", prep_again(data, &[("keep-duplicates", None)])),
    )
}

fn no_end_of_turn(data: &DatasetFacts) -> Option<Finding> {
    let train = &data.train;
    if train.unmasked * 2 > train.rows || train.rows < 10 || train.common_end * 2 > train.rows {
        return None;
    }
    Some(
        Finding::new(
            Cause::NoEndOfTurn,
            "the answers have no common end: the model doesn't learn to stop",
        )
        .seen(format!(
            "the most frequent last token ends {} of {} rows ({:.0} %)",
            train.common_end,
            train.rows,
            percent(train.common_end, train.rows)
        ))
        .attempt(
            "use a chat template, which ends a turn with a special token (not --no-chat-template)",
            prep_again(data, &[("no-chat-template", None)]),
        ),
    )
}

fn refused(data: &DatasetFacts) -> Option<Finding> {
    let manifest = data.manifest.as_ref()?;
    let reasons = || {
        manifest
            .refused
            .iter()
            .filter(|(reason, _)| !reason.starts_with("duplicate"))
    };
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
    Some(finding.attempt(
        "mend the most frequent reason, or raise --max-length if rows are too long",
        None,
    ))
}
