//! Multiple choice by likelihood, as lm-evaluation-harness computes it: each choice is scored as the completion of the row's
//! prompt, Σ log p of its tokens. `acc` is how often the right one has the largest sum, `acc_norm` how often it has the
//! largest sum by character of its text, `acc_bytes` by byte (UTF-8). White space at the prompt's end is scored with each
//! choice, as there; a choice is tokenised apart from its prompt, where the harness tokenises both together.
use crate::Args;
use crate::inputs::{Loaded, Model};
use crate::measure::Measure;
use crate::measured::Grades;
use crate::metrics::{OF_CHOICES, Scale};
use crate::scores::packed_losses;
use lora_checkpoint::TokenizerBundle;
use lora_cli::{Error, Result, Ui};
use lora_data::{Example, IGNORE};
use lora_model::Generate;
use serde_json::Value;
use std::ops::Range;

/// The choices of every row as completions of its prompt.
#[derive(Debug)]
pub(crate) struct Choices {
    completions: Vec<Example>,
    /// Of each choice's text.
    lengths: Vec<Length>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Length {
    /// Code points, as Python counts them.
    characters: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Row {
    /// Its choices among the completions.
    choices: Range<usize>,
    /// The right one, counted within the row.
    right: usize,
}

impl Choices {
    /// Those of the column that the flags name; none without the flag.
    pub(crate) fn of(args: &Args, loaded: &Loaded) -> Result<Option<Self>> {
        let Some(column) = &args.choices else {
            return Ok(None);
        };
        let mut choices = Self {
            completions: Vec::new(),
            lengths: Vec::new(),
            rows: Vec::new(),
        };
        for (number, (row, value)) in loaded.rows.iter().zip(loaded.column(column)?).enumerate() {
            let place = format!("row {}, column '{column}'", number + 1);
            choices.add(row, value, loaded).map_err(|why| {
                Error::new(format!("{place}: {why}")).hint(
                    "choices are a list of two or more texts, one of which is the row's completion as it is written in the \
                     raw row (lora-prep --keep keeps the column)",
                )
            })?;
        }
        Ok(Some(choices))
    }

    fn add(&mut self, row: &Example, value: &Value, loaded: &Loaded) -> Result<(), String> {
        let texts = texts(value).ok_or("not a list of two or more different texts")?;
        let tokenizer = loaded.tokenizer.as_ref();
        let tokenizer = tokenizer.ok_or("the base comes without a tokenizer")?;
        let own = completion(row);
        let given = without_end(row.prompt_ids(), tokenizer)?;
        let start = self.completions.len();
        let mut right = None;
        for (number, text) in texts.iter().enumerate() {
            let encoding = tokenizer.tokenizer.encode_fast(text.as_str(), false);
            let encoding = encoding.map_err(|error| error.to_string())?;
            let ids = encoding.get_ids();
            if ids.is_empty() {
                return Err(format!("choice {} has no tokens", number + 1));
            }
            if own.starts_with(ids) && is_end(&own[ids.len()..], loaded) {
                right = Some(number);
            }
            self.completions.push(completed(row, given, ids));
            self.lengths.push(Length {
                characters: text.chars().count(),
                bytes: text.len(),
            });
        }
        self.rows.push(Row {
            choices: start..self.completions.len(),
            right: right.ok_or("none of the choices is the row's completion, token by token")?,
        });
        Ok(())
    }

    /// The measures.
    pub(crate) fn measures() -> impl Iterator<Item = Measure> {
        OF_CHOICES
            .into_iter()
            .map(|name| Measure::of_scores(name, Scale::Share))
    }

    /// Grades one model under all of `OF_CHOICES`, beside guessing.
    pub(crate) fn grade(
        &self,
        route: &mut dyn Generate,
        model: &Model<'_>,
        batch_tokens: usize,
        ui: &Ui,
    ) -> Result<[Grades; OF_CHOICES.len()]> {
        let label = format!("choices, {}", model.name);
        let losses = packed_losses(route, model, &self.completions, batch_tokens, &label, ui)?;
        let sum = |choice: usize| losses[choice].nll;
        let by = |choice: usize, length: usize| losses[choice].nll / length as f64;
        Ok([
            self.graded(sum),
            self.graded(|choice| by(choice, self.lengths[choice].characters)),
            self.graded(|choice| by(choice, self.lengths[choice].bytes)),
        ])
    }

    /// Grades by what is least for the choice that a model takes.
    fn graded(&self, cost: impl Fn(usize) -> f64) -> Grades {
        let is_right = |row: &Row| {
            let costs: Vec<f64> = row.choices.clone().map(&cost).collect();
            let taken = costs.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
            taken.is_some_and(|(choice, _)| choice == row.right)
        };
        let score = |share: f64| Some(vec![share, 1.0]);
        Grades {
            rows: self
                .rows
                .iter()
                .map(|row| score(f64::from(u8::from(is_right(row)))))
                .collect(),
            chance: self
                .rows
                .iter()
                .map(|row| score(1.0 / row.choices.len() as f64))
                .collect(),
        }
    }
}

/// A list of two or more different texts, or its JSON.
fn texts(value: &Value) -> Option<Vec<String>> {
    let parsed = value
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let items = parsed.as_ref().unwrap_or(value).as_array()?;
    let all: Vec<String> = items
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect::<Option<_>>()?;
    let is_new = |(at, text): (usize, &String)| !all[..at].contains(text);
    (all.len() >= 2 && all.iter().enumerate().all(is_new)).then_some(all)
}

/// The supervised ids that follow the prompt.
fn completion(row: &Example) -> &[u32] {
    let start = row.prompt_ids().len();
    let supervised = row.labels[start..].iter().take_while(|&&label| label >= 0);
    &row.input_ids[start..start + supervised.count()]
}

/// True if nothing follows but what ends a turn: special tokens and white space.
fn is_end(rest: &[u32], loaded: &Loaded) -> bool {
    let text = loaded
        .tokenizer
        .as_ref()
        .map(|bundle| bundle.tokenizer.decode(rest, true));
    matches!(text, Some(Ok(text)) if text.trim().is_empty())
}

/// How many ids of a prompt are left without the white space at its end.
fn without_end(prompt: &[u32], tokenizer: &TokenizerBundle) -> Result<usize, String> {
    let text = |ids: &[u32]| {
        let decoded = tokenizer.tokenizer.decode(ids, false);
        decoded.map_err(|error| error.to_string())
    };
    let whole = text(prompt)?;
    let mut left = prompt.len();
    while left > 0 && text(&prompt[..left - 1])?.trim_end() == whole.trim_end() {
        left -= 1;
    }
    Ok(left)
}

/// The row's prompt, of which the first `given` ids are not scored, and these ids after it.
fn completed(row: &Example, given: usize, ids: &[u32]) -> Example {
    let input_ids = [row.prompt_ids(), ids].concat();
    let scored = input_ids[given..].iter().map(|&id| id as i32);
    Example {
        labels: std::iter::repeat_n(IGNORE, given).chain(scored).collect(),
        input_ids,
        ..row.clone()
    }
}
