//! How report.json is filled from what was measured; its types are those of lora-records.
use crate::Args;
use crate::compare;
use crate::generation::{Answer, Plan};
use crate::load::Loaded;
use crate::statistics::{self, TAIL};
use lora_model::SequenceLoss;
use lora_records::{Difference, ExactMatch, ModelReport, Report, TokenAccuracy};
use std::path::PathBuf;

/// What was measured of one model, row by row.
#[derive(Debug)]
pub(crate) struct Measured {
    /// See `ModelReport::name`.
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
        version: Report::VERSION,
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
