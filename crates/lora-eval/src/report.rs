//! report.json, version 1: its types, and how they are filled from what was measured.
use crate::Args;
use crate::compare::{self, Comparison};
use crate::generation::{Answer, Plan};
use crate::load::Loaded;
use crate::statistics::{self, TAIL};
use lora_model::SequenceLoss;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The report format that this version writes.
pub const VERSION: u32 = 1;

/// What report.json holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Format version, see [`VERSION`].
    pub version: u32,
    /// Base model.
    pub base: PathBuf,
    /// Dataset.
    pub data: PathBuf,
    /// Split of the dataset.
    pub split: String,
    /// Rows measured.
    pub rows: usize,
    /// Supervised tokens.
    pub tokens: usize,
    /// How answers were generated.
    pub generation: Generation,
    /// The base first, then the adapters in the order of the command line.
    pub models: Vec<ModelReport>,
    /// Every pair of adapters.
    pub comparisons: Vec<Comparison>,
    /// The gates that were asked for.
    pub gates: Vec<GateResult>,
    /// True if every gate passed (also without gates).
    pub passed: bool,
}

/// How answers were generated, or why they were not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Rows answered; 0 if generation was off or not possible.
    pub rows: usize,
    /// Different prompts among them; each is answered once.
    pub prompts: usize,
    /// Longest answer, tokens.
    pub max_new_tokens: usize,
    /// Ids that end an answer.
    pub stop_ids: Vec<u32>,
    /// Why no row was answered.
    pub skipped: Option<String>,
}

/// One model's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelReport {
    /// `base`, or the adapter's folder name.
    pub name: String,
    /// Adapter folder; null for the base.
    pub adapter: Option<PathBuf>,
    /// Mean −log p of a supervised token, nats.
    pub nll: f64,
    /// exp(nll).
    pub perplexity: f64,
    /// Supervised tokens that were the argmax.
    pub token_accuracy: TokenAccuracy,
    /// Rows whose greedy answer is the completion, if rows were answered.
    pub exact_match: Option<ExactMatch>,
    /// Against the base; null for the base itself.
    pub difference_to_base: Option<Difference>,
}

/// How often the next token was the most probable one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAccuracy {
    /// Tokens predicted right.
    pub correct: usize,
    /// Supervised tokens.
    pub tokens: usize,
    /// correct ÷ tokens.
    pub rate: f64,
}

/// How often the greedy answer was the completion, text for text without its end-of-turn token and outer white space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExactMatch {
    /// Rows answered exactly.
    pub matched: usize,
    /// Rows answered.
    pub rows: usize,
    /// matched ÷ rows.
    pub rate: f64,
}

/// Paired difference of the mean loss per token, adapter − base: below zero is better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Difference of the means, nats a token.
    pub nll: f64,
    /// Its standard error over prompts; null with fewer than two prompts.
    pub standard_error: Option<f64>,
    /// Lower end of the 95 % interval (Student's t).
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// Different prompts, the unit of the error.
    pub prompts: usize,
}

/// What a gate said of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateResult {
    /// The flag, e.g. `must-beat-base`.
    pub gate: String,
    /// The model judged.
    pub model: String,
    /// Its verdict.
    pub passed: bool,
    /// The figures behind it, one line.
    pub reason: String,
}

/// What was measured of one model, row by row.
#[derive(Debug)]
pub(crate) struct Measured {
    /// See [`ModelReport::name`].
    pub(crate) name: String,
    /// A loss a row.
    pub(crate) losses: Vec<SequenceLoss>,
    /// An answer a row, for the rows that the plan generates.
    pub(crate) answers: Vec<Answer>,
}

/// The report without its gates.
pub(crate) fn build(args: &Args, loaded: &Loaded, plan: &Plan, measured: &[Measured]) -> Report {
    let base = measured
        .first()
        .map_or(&[] as &[SequenceLoss], |m| &m.losses);
    let groups: Vec<String> = loaded.rows.iter().map(|row| row.group.clone()).collect();
    let models = measured
        .iter()
        .zip(loaded.models())
        .enumerate()
        .map(|(i, (m, model))| {
            let difference =
                (i > 0).then(|| statistics::difference(base, &m.losses, &groups, TAIL));
            model_report(m, model.path.map(PathBuf::from), difference)
        });
    Report {
        version: VERSION,
        base: args.base.clone(),
        data: args.data.clone(),
        split: args.split.clone(),
        rows: loaded.rows.len(),
        tokens: base.iter().map(|loss| loss.tokens).sum(),
        generation: plan.describe(),
        models: models.collect(),
        comparisons: compare::pairs(measured.get(1..).unwrap_or_default(), &groups),
        gates: Vec::new(),
        passed: true,
    }
}

fn model_report(
    measured: &Measured,
    adapter: Option<PathBuf>,
    difference: Option<Difference>,
) -> ModelReport {
    let tokens: usize = measured.losses.iter().map(|loss| loss.tokens).sum();
    let correct: usize = measured.losses.iter().map(|loss| loss.correct).sum();
    let nll = measured.losses.iter().map(|loss| loss.nll).sum::<f64>() / tokens as f64;
    let rows = measured.answers.len();
    let matched = measured
        .answers
        .iter()
        .filter(|answer| answer.exact)
        .count();
    ModelReport {
        name: measured.name.clone(),
        adapter,
        nll,
        perplexity: nll.exp().min(f64::MAX), // JSON knows no infinity
        token_accuracy: TokenAccuracy {
            correct,
            tokens,
            rate: correct as f64 / tokens as f64,
        },
        exact_match: (rows > 0).then(|| ExactMatch {
            matched,
            rows,
            rate: matched as f64 / rows as f64,
        }),
        difference_to_base: difference,
    }
}
