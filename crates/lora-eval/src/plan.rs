//! Which rows are answered: their prompts, what is expected of them, and what ends an answer.
use crate::inputs::Loaded;
use crate::metrics::Extraction;
use crate::question::Question;
use crate::references;
use crate::{Args, Rows};
use lora_cli::{Error, Result, SamplingArgs, Ui};
use lora_data::Example;
use lora_model::Sampling;
use lora_records::Generation;
use std::collections::{BTreeMap, BTreeSet};
use tokenizers::Tokenizer;

/// A special token ends the rows, and so the answers, if it is the last supervised one of this share of them.
const ENDS_ROWS: f64 = 0.9;

/// Room for an answer that says the completion in other tokens.
const SPARE_TOKENS: usize = 8;

/// What is going to be generated, the same for all models.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Prompt, by ids, and expected text of the first rows of the split.
    pub(crate) rows: Vec<Question>,
    pub(crate) max_new_tokens: usize,
    pub(crate) stop: Vec<u32>,
    pub(crate) sampling: Sampling,
    /// The flags that `sampling` is of, with stop texts and seed.
    pub(crate) flags: SamplingArgs,
    /// Answers to a prompt.
    pub(crate) samples: usize,
    /// Takes the part of an answer that counts.
    pub(crate) extraction: Option<Extraction>,
    regex: Option<String>,
    references: Option<String>,
    skipped: Option<String>,
}

impl Plan {
    /// No row is answered.
    fn empty(args: &Args) -> Self {
        let flags = args.sampling.clone();
        Self {
            rows: Vec::new(),
            max_new_tokens: 0,
            stop: Vec::new(),
            sampling: Sampling {
                temperature: flags.temperature,
                top_k: flags.top_k,
                top_p: flags.top_p,
                min_p: flags.min_p,
                repetition_penalty: flags.repetition_penalty,
            },
            flags,
            samples: args.samples,
            extraction: None,
            regex: None,
            references: None,
            skipped: None,
        }
    }

    /// The report's account of the plan.
    pub(crate) fn describe(&self) -> Generation {
        let prompts: BTreeSet<_> = self.rows.iter().map(|question| &question.prompt).collect();
        Generation {
            rows: self.rows.len(),
            prompts: prompts.len(),
            max_new_tokens: self.max_new_tokens,
            stop_ids: self.stop.clone(),
            skipped: self.skipped.clone(),
            regex: self.regex.clone(),
            references: self.references.clone(),
        }
    }

    /// Why no row is answered.
    pub(crate) fn reason(&self) -> &str {
        self.skipped.as_deref().unwrap_or_default()
    }
}

/// Chooses the rows to answer and says what is left out, and why.
pub(crate) fn plan(args: &Args, loaded: &Loaded, ui: &Ui) -> Result<Plan> {
    let wanted = match args.generate {
        Rows::All => loaded.rows.len(),
        Rows::First(n) => n.min(loaded.rows.len()),
    };
    let bundle = match (&loaded.tokenizer, wanted) {
        (_, 0) => return skip(args, "turned off by --generate 0", ui),
        (None, _) => return skip(args, "the base comes without a tokenizer", ui),
        _ if loaded.rows.iter().all(|row| row.prompt.is_empty()) => {
            return skip(
                args,
                "the dataset holds ids only, without the text of prompts and completions",
                ui,
            );
        }
        (Some(bundle), _) => bundle,
    };
    let stop = stop_ids(loaded, &bundle.tokenizer);
    let mut rows = Vec::with_capacity(wanted);
    let mut longest = 0;
    for row in &loaded.rows[..wanted] {
        let (prompt, completion) = question(row, &stop, |id| {
            Ok(decode(&bundle.tokenizer, &[id])?.is_empty())
        })?;
        longest = longest.max(completion.len());
        let expected = decode(&bundle.tokenizer, completion)?;
        rows.push(Question {
            prompt: prompt.to_vec(),
            references: vec![expected.clone()],
            expected,
            beyond_stop: completion.iter().any(|id| stop.contains(id)),
        });
    }
    references::add(args, loaded, &mut rows)?;
    let extraction = args.regex.as_deref().map(Extraction::new).transpose()?;
    if let Some(extraction) = &extraction {
        references::take(extraction, &mut rows)?;
    }
    warn_of_unanswerable(&rows, ui);
    if wanted < loaded.rows.len() {
        ui.say(&format!(
            "answering the first {wanted} of {} rows (--generate all answers all)",
            loaded.rows.len()
        ));
    }
    let max_new_tokens = args.max_new_tokens.unwrap_or(longest + SPARE_TOKENS);
    Ok(Plan {
        rows,
        max_new_tokens,
        stop,
        extraction,
        regex: args.regex.clone(),
        references: args.references.clone(),
        ..Plan::empty(args)
    })
}

fn skip(args: &Args, reason: &str, ui: &Ui) -> Result<Plan> {
    crate::without_answers::refuse_gates(args, reason)?;
    ui.say(&format!("no answers are generated: {reason}"));
    Ok(Plan {
        skipped: Some(reason.to_owned()),
        ..Plan::empty(args)
    })
}

/// What ends an answer: the model's own end ids, and the special token that ends the dataset's rows. Any other special
/// token is content: an answer has to have it where the completion has it.
fn stop_ids(loaded: &Loaded, tokenizer: &Tokenizer) -> Vec<u32> {
    let config = loaded.base.checkpoint().config();
    let mut stop: BTreeSet<u32> = config.eos_token_ids.iter().copied().collect();
    stop.extend(end_of_rows(&loaded.rows, tokenizer));
    stop.into_iter().collect()
}

/// The special token that is the last supervised one of nearly all rows.
fn end_of_rows(rows: &[Example], tokenizer: &Tokenizer) -> Option<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for id in rows.iter().filter_map(last_supervised) {
        *counts.entry(id).or_default() += 1;
    }
    let (id, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let added = tokenizer.get_added_tokens_decoder();
    let is_special = added.get(&id).is_some_and(|token| token.special);
    (is_special && count as f64 >= ENDS_ROWS * rows.len() as f64).then_some(id)
}

fn last_supervised(row: &Example) -> Option<u32> {
    let at = row.labels.iter().rposition(|&label| label >= 0)?;
    row.input_ids.get(at).copied()
}

/// The ids up to the first supervised label, and the ids that are supervised from there on, without the stops (and the
/// white space between them) at their end.
fn question<'a>(
    row: &'a Example,
    stop: &[u32],
    is_blank: impl Fn(u32) -> Result<bool>,
) -> Result<(&'a [u32], &'a [u32])> {
    let (prompt, rest) = row.input_ids.split_at(row.prompt_ids().len());
    let supervised = row.labels[prompt.len()..]
        .iter()
        .take_while(|&&label| label >= 0)
        .count();
    let mut completion = &rest[..supervised];
    let mut content = completion;
    while let Some((id, before)) = content.split_last() {
        content = before;
        if stop.contains(id) {
            completion = before;
        } else if !is_blank(*id)? {
            break;
        }
    }
    Ok((prompt, completion))
}

/// Says which rows no answer can match.
fn warn_of_unanswerable(rows: &[Question], ui: &Ui) {
    let empty = rows.iter().filter(|row| row.expected.is_empty()).count();
    if empty > 0 {
        ui.warn(&format!(
            "{empty} of {} rows expect an empty answer: none counts as exact",
            rows.len()
        ));
    }
    let beyond = rows.iter().filter(|row| row.beyond_stop).count();
    if beyond > 0 {
        ui.warn(&format!(
            "{beyond} of {} rows have a token inside that ends every answer: none of these can be exact",
            rows.len()
        ));
    }
}

/// The text of ids with special tokens as they are, without outer white space.
pub(crate) fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> Result<String> {
    let text = tokenizer
        .decode(ids, false)
        .map_err(|error| Error::new(format!("failed to decode ids: {error}")))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(input_ids: &[u32], labels: &[i32]) -> Example {
        Example {
            input_ids: input_ids.to_vec(),
            labels: labels.to_vec(),
            id: String::new(),
            group: String::new(),
            prompt: String::new(),
            completion: String::new(),
        }
    }

    fn asked<'a>(row: &'a Example, stop: &[u32]) -> (&'a [u32], &'a [u32]) {
        const BLANK: u32 = 30;
        question(row, stop, |id| Ok(id == BLANK)).unwrap()
    }

    #[test]
    fn a_question_ends_where_supervision_starts_and_its_answer_before_the_stops_at_its_end() {
        let prompt = [1, 5, 6];
        let all = row(&[1, 5, 6, 7, 8, 2], &[-100, -100, -100, 7, 8, 2]);
        assert_eq!(asked(&all, &[2]), (&prompt[..], &[7, 8][..]));
        assert_eq!(asked(&all, &[]), (&prompt[..], &[7, 8, 2][..]));
        let two_ends = row(
            &[1, 5, 6, 7, 30, 2, 30, 3],
            &[-100, -100, -100, 7, 30, 2, 30, 3],
        );
        assert_eq!(asked(&two_ends, &[2, 3]), (&prompt[..], &[7, 30][..]));
        assert_eq!(asked(&two_ends, &[3]).1, [7, 30, 2, 30]);
        let another_turn = row(&[1, 7, 2, 4, 8, 2], &[-100, 7, 2, -100, 8, 2]);
        assert_eq!(asked(&another_turn, &[2]), (&[1][..], &[7][..]));
        let nothing = row(&[1, 5, 6], &[-100; 3]);
        assert_eq!(asked(&nothing, &[2]), (&prompt[..], &[][..]));
    }

    #[test]
    fn a_stop_inside_a_completion_is_content_that_no_answer_reaches() {
        let inside = row(&[1, 2, 7, 8, 2], &[-100, 2, 7, 8, 2]);
        assert_eq!(asked(&inside, &[2]).1, [2, 7, 8]);
        let only_stops = row(&[1, 2, 2], &[-100, 2, 2]);
        assert_eq!(asked(&only_stops, &[2]).1, [0; 0]);
    }

    #[test]
    fn an_empty_expectation_is_never_met() {
        let question = |expected: &str| Question {
            prompt: vec![1],
            expected: expected.to_owned(),
            beyond_stop: false,
            references: vec![expected.to_owned()],
        };
        assert!(!question("").is_answered_by(""));
        assert!(question("a").is_answered_by("a") && !question("a").is_answered_by(""));
    }
}
