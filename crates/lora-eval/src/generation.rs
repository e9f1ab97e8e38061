//! Greedy answers to the rows' prompts, and whether they are the completions.
use crate::load::{Loaded, Model};
use crate::{Args, Rows};
use lora_cli::{Error, Result, Ui};
use lora_data::Example;
use lora_model::Generate;
use lora_records::Generation;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use tokenizers::Tokenizer;

/// A special token ends the rows, and so the answers, if it is the last supervised one of this share of them.
const ENDS_ROWS: f64 = 0.9;

/// Room for an answer that says the completion in other tokens.
const SPARE_TOKENS: usize = 8;

/// Prompts that are answered together at most, and the memory that their keys and values may take.
const MOST_TOGETHER: usize = 16;
const CACHE_BYTES: usize = 256 << 20;

/// What is going to be generated, the same for all models.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Prompt, by ids, and expected text of the first rows of the split.
    pub(crate) rows: Vec<Question>,
    max_new_tokens: usize,
    stop: Vec<u32>,
    skipped: Option<String>,
}

/// One row's question.
#[derive(Debug)]
pub(crate) struct Question {
    prompt: Vec<u32>,
    /// The completion without the stops at its end and without outer white space. An empty one is never matched.
    pub(crate) expected: String,
    /// A stop stands inside the completion: no answer can reach what follows it.
    pub(crate) beyond_stop: bool,
}

impl Question {
    /// The text is the expected one, and there is something to expect.
    fn is_answered_by(&self, text: &str) -> bool {
        !self.expected.is_empty() && text == self.expected
    }
}

/// One row's answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Generated ids, without the one that ended the answer.
    pub(crate) ids: Vec<u32>,
    /// Their text, without outer white space.
    pub(crate) text: String,
    /// The text is the completion's.
    pub(crate) exact: bool,
}

impl Plan {
    /// The report's account of the plan.
    pub(crate) fn describe(&self) -> Generation {
        let prompts: BTreeSet<_> = self.rows.iter().map(|question| &question.prompt).collect();
        Generation {
            rows: self.rows.len(),
            prompts: prompts.len(),
            max_new_tokens: self.max_new_tokens,
            stop_ids: self.stop.clone(),
            skipped: self.skipped.clone(),
        }
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
        rows.push(Question {
            prompt: prompt.to_vec(),
            expected: decode(&bundle.tokenizer, completion)?,
            beyond_stop: completion.iter().any(|id| stop.contains(id)),
        });
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
        skipped: None,
    })
}

fn skip(args: &Args, reason: &str, ui: &Ui) -> Result<Plan> {
    if args.min_exact_match.is_some() {
        return Err(Error::new(format!(
            "--min-exact-match needs generated answers: {reason}"
        )));
    }
    ui.say(&format!("no answers are generated: {reason}"));
    Ok(Plan {
        skipped: Some(reason.to_owned()),
        ..Plan::default()
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

fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> Result<String> {
    let text = tokenizer
        .decode(ids, false)
        .map_err(|error| Error::new(format!("failed to decode ids: {error}")))?;
    Ok(text.trim().to_owned())
}

/// Answers every question of the plan, some prompts at a time; equal prompts are answered once.
pub(crate) fn answer(
    route: &mut dyn Generate,
    loaded: &Loaded,
    model: &Model<'_>,
    plan: &Plan,
    ui: &Ui,
) -> Result<Vec<Answer>> {
    let Some(bundle) = &loaded.tokenizer else {
        return Ok(Vec::new());
    };
    if plan.rows.is_empty() {
        return Ok(Vec::new());
    }
    let prompts: BTreeSet<&[u32]> = plan
        .rows
        .iter()
        .map(|question| question.prompt.as_slice())
        .collect();
    let prompts: Vec<&[u32]> = prompts
        .into_iter()
        .filter(|prompt| !prompt.is_empty())
        .collect();
    let progress = ui.progress(
        &format!("answers, {}", model.name),
        prompts.len() as u64,
        "prompts",
    );
    let mut known: BTreeMap<&[u32], (Vec<u32>, String)> = BTreeMap::new();
    for range in batches(&prompts, plan.max_new_tokens, cache_positions(loaded)) {
        ui.check_interrupt()?;
        let batch = &prompts[range];
        let continued = route.generate(model.adapter, batch, plan.max_new_tokens, &plan.stop)?;
        for (&prompt, ids) in batch.iter().zip(continued) {
            let text = decode(&bundle.tokenizer, &ids)?;
            known.insert(prompt, (ids, text));
        }
        progress.inc(batch.len() as u64);
    }
    let answer = |question: &Question| match known.get(question.prompt.as_slice()) {
        Some((ids, text)) => Answer {
            ids: ids.clone(),
            text: text.clone(),
            exact: question.is_answered_by(text),
        },
        None => Answer {
            ids: Vec::new(),
            text: String::new(),
            exact: false,
        }, // no prompt: nothing to continue
    };
    Ok(plan.rows.iter().map(answer).collect())
}

/// Positions for which keys and values fit into the cache's budget.
fn cache_positions(loaded: &Loaded) -> usize {
    let config = loaded.base.checkpoint().config();
    let position = 2
        * config.num_key_value_heads
        * config.head_dim
        * config.num_hidden_layers
        * size_of::<f32>();
    CACHE_BYTES / position.max(1)
}

/// Consecutive prompts that are answered together: the weights are read once a token for all of them.
fn batches(prompts: &[&[u32]], max_new_tokens: usize, positions: usize) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut first = 0;
    let mut longest = 0;
    for (index, prompt) in prompts.iter().enumerate() {
        longest = longest.max(prompt.len());
        let together = index + 1 - first;
        if together > 1
            && (together > MOST_TOGETHER || together * (longest + max_new_tokens) > positions)
        {
            batches.push(first..index);
            (first, longest) = (index, prompt.len());
        }
    }
    if first < prompts.len() {
        batches.push(first..prompts.len());
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_prompt_once_within_the_budget() {
        let prompts: Vec<Vec<u32>> = [4, 4, 4, 90, 1].map(|length| vec![0; length]).to_vec();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        assert_eq!(batches(&prompts, 6, 20), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(
            batches(&prompts[..3], 6, 1000),
            std::slice::from_ref(&(0..3))
        );
    }

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
        };
        assert!(!question("").is_answered_by(""));
        assert!(question("a").is_answered_by("a") && !question("a").is_answered_by(""));
    }
}
