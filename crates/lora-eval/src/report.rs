//! How report.json is filled from what was measured; its types are those of lora-records.
use crate::Args;
use crate::compare;
use crate::generation::Plan;
use crate::load::Loaded;
use crate::measured::Measured;
use crate::statistics::{self, TAIL};
use lora_model::SequenceLoss;
use lora_records::{Difference, ExactMatch, ModelReport, Report, TokenAccuracy};
use std::path::PathBuf;

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
            let mut report = model_report(m, model.path.map(PathBuf::from), difference);
            report.exact_match = exact_match(m, &groups);
            report
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
        exact_match: None,
        difference_to_base: difference,
    }
}

fn exact_match(measured: &Measured, groups: &[String]) -> Option<ExactMatch> {
    let exact: Vec<bool> = measured.answers.iter().map(|answer| answer.exact).collect();
    let share = statistics::share(&exact, groups)?;
    Some(ExactMatch {
        matched: exact.iter().filter(|exact| **exact).count(),
        rows: exact.len(),
        rate: share.value,
        low: Some(share.low),
        high: Some(share.high),
        prompts: Some(share.prompts),
    })
}
