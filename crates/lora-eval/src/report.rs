//! How report.json is filled from what was measured; its types are those of lora-records.
use crate::Args;
use crate::compare;
use crate::control;
use crate::figures::{Ground, Tests};
use crate::inputs::Loaded;
use crate::measured::Measured;
use crate::plan::Plan;
use crate::statistics::{self, TAIL};
use lora_records::{Comparison, ExactMatch, ModelReport, Report, TokenAccuracy};
use std::path::PathBuf;

/// The report without its gates and slices.
pub(crate) fn build(
    args: &Args,
    loaded: &Loaded,
    plan: &Plan,
    ground: Ground<'_>,
    measured: &[Measured],
) -> Report {
    let groups: Vec<String> = loaded.rows.iter().map(|row| row.group.clone()).collect();
    let tests = Tests::of(ground, measured);
    let paths = loaded
        .models()
        .into_iter()
        .map(|model| model.path.map(PathBuf::from));
    let models = paths.zip(measured).enumerate().map(|(i, (path, m))| {
        let mut report = model_report(m, path);
        report.rows_trained_on = loaded.models()[i].rows_trained_on;
        report.exact_match = exact_match(m, &groups);
        report.metrics = ground.figures(measured, i, &tests);
        report.prompt_effect = control::prompt_effect(m, &groups);
        if let Some(base) = measured.first().filter(|_| i > 0) {
            let difference = statistics::difference(&base.losses, &m.losses, &groups, TAIL);
            report.difference_to_base = Some(difference);
            report.prompt_effect_to_base = control::effect_to_base(base, m, &groups);
        }
        report
    });
    let base = measured.first().map(|m| m.losses.iter());
    Report {
        version: Report::VERSION,
        base: args.base.clone(),
        data: args.data.clone(),
        split: loaded.split.clone(),
        rows: loaded.rows.len(),
        tokens: base.into_iter().flatten().map(|loss| loss.tokens).sum(),
        generation: plan.describe(),
        models: models.collect(),
        comparisons: comparisons(ground, measured, &groups, &tests),
        slices: Vec::new(),
        guard: None,
        tests: tests.count(),
        gates: Vec::new(),
        passed: true,
    }
}

fn comparisons(
    ground: Ground<'_>,
    measured: &[Measured],
    groups: &[String],
    tests: &Tests,
) -> Vec<Comparison> {
    let mut comparisons = compare::pairs(measured.get(1..).unwrap_or_default(), groups);
    let place = |name: &str| measured.iter().position(|model| model.name == name);
    for comparison in &mut comparisons {
        if let (Some(first), Some(second)) = (place(&comparison.first), place(&comparison.second)) {
            comparison.metrics = tests.between(ground, first, second);
        }
    }
    comparisons
}

fn model_report(measured: &Measured, adapter: Option<PathBuf>) -> ModelReport {
    let tokens: usize = measured.losses.iter().map(|loss| loss.tokens).sum();
    let correct: usize = measured.losses.iter().map(|loss| loss.correct).sum();
    let nll = measured.losses.iter().map(|loss| loss.nll).sum::<f64>() / tokens as f64;
    ModelReport {
        name: measured.name.clone(),
        adapter,
        rows_trained_on: None,
        nll,
        perplexity: nll.exp().min(f64::MAX), // JSON knows no infinity
        token_accuracy: TokenAccuracy {
            correct,
            tokens,
            rate: correct as f64 / tokens as f64,
        },
        exact_match: None,
        difference_to_base: None,
        metrics: Vec::new(),
        prompt_effect: None,
        prompt_effect_to_base: None,
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
