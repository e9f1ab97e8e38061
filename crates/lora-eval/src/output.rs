//! The output folder: report.json, predictions.jsonl and the receipt.
use crate::Args;
use crate::html::{self, Page};
use crate::inputs::Loaded;
use crate::measure::Measure;
use crate::measured::{Grades, Measured};
use crate::metrics::OF_LOSSES;
use crate::plan::Plan;
use crate::question::Question;
use lora_cli::{Error, Result, ToolArgs as _, Ui, draft};
use lora_receipt::{Artefact, Draft, Staged};
use lora_records::{Answer, ModelReport, Prediction, Report};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Claims the output folder.
pub(crate) fn stage(args: &Args) -> Result<Staged> {
    Ok(Staged::folder(&args.out, args.force)?)
}

/// Writes both files and the receipt, and makes the folder final.
pub(crate) fn commit(
    output: Staged,
    args: &Args,
    loaded: &Loaded,
    plan: &Plan,
    made: Made<'_>,
    ui: &Ui,
) -> Result<()> {
    let Made {
        report,
        measures,
        measured,
        device,
    } = made;
    let file = output.path().join(Report::FILE_NAME);
    create(&file, |out| {
        serde_json::to_writer_pretty(&mut *out, report)?;
        out.write_all(b"\n")
    })?;
    let file = output.path().join(Prediction::FILE_NAME);
    create(&file, |out| {
        write_predictions(out, loaded, plan, measures, measured)
    })?;
    let draft = Draft {
        results: results(report, device),
        ..draft::<Args>(ui, args, Artefact::Report, loaded.inputs.clone())?
    };
    let page = Page {
        report,
        loaded,
        plan,
        measured,
        config: &with_effect(&draft.config),
    };
    create(&output.path().join(html::FILE_NAME), |out| {
        out.write_all(page.html().as_bytes())
    })?;
    loaded.base.checkpoint().check_unchanged()?;
    lora_cli::commit(ui, output, draft)
}

/// The settings but for those that change nothing of what is written: the page's bytes don't depend on them either.
fn with_effect(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(settings) = config.as_object_mut() {
        settings.retain(|name, _| !Args::WITHOUT_EFFECT.contains(&name.as_str()));
    }
    config
}

/// What is written of the run as a whole.
pub(crate) struct Made<'r> {
    pub(crate) report: &'r Report,
    pub(crate) measures: &'r [Measure],
    pub(crate) measured: &'r [Measured],
    /// Where it was computed.
    pub(crate) device: Value,
}

fn create(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<()> {
    let run = || {
        let mut out = BufWriter::new(File::create(path)?);
        write(&mut out)?;
        out.flush()
    };
    run().map_err(|error| {
        Error::foreign(error).context(format!("failed to write {}", path.display()))
    })
}

fn write_predictions(
    out: &mut impl Write,
    loaded: &Loaded,
    plan: &Plan,
    measures: &[Measure],
    measured: &[Measured],
) -> std::io::Result<()> {
    for (index, row) in loaded.rows.iter().enumerate() {
        let question = plan.rows.get(index);
        let models = measured
            .iter()
            .map(|m| (m.name.clone(), prediction(m, measures, index)))
            .collect();
        let line = Prediction {
            id: row.id.clone(),
            prompt: row.prompt.clone(),
            expected: question.map(|question| question.expected.clone()),
            references: question.map_or_else(Vec::new, further),
            models,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Right answers beside the row's own.
fn further(question: &Question) -> Vec<String> {
    let others = question.references.iter().skip(1);
    others.cloned().collect()
}

/// Texts of the answers after the first.
fn samples(answer: &crate::generation::Answer) -> Vec<String> {
    let texts = answer.more.iter().map(|more| more.text.clone());
    texts.collect()
}

/// One model's answer, where one was generated, and loss on one row.
fn prediction(measured: &Measured, measures: &[Measure], index: usize) -> Answer {
    let loss = measured.losses[index];
    let answer = measured.answers.get(index);
    let graded = measured.grades.iter().zip(measures).skip(OF_LOSSES.len());
    let score = |(grades, measure): (&Grades, &Measure)| {
        let sums = grades.rows.get(index)?.as_ref()?;
        Some((measure.name.clone(), measure.figure(sums).into()))
    };
    Answer {
        text: answer.map(|answer| answer.text.clone()),
        exact: answer.map(|answer| answer.exact),
        ids: answer.map(|answer| answer.ids.clone()),
        samples: answer.map_or_else(Vec::new, samples),
        taken: answer.and_then(|answer| answer.taken.clone()),
        scores: graded.filter_map(score).collect(),
        nll: loss.nll,
        tokens: loss.tokens,
        correct: loss.correct,
    }
}

/// The metrics of answers by name, exact match left out, which stands beside them.
fn metrics(model: &ModelReport) -> Map<String, Value> {
    let of_answers = model.metrics.iter().skip(OF_LOSSES.len());
    let others = of_answers.filter(|figure| figure.metric != "exact_match");
    others
        .map(|figure| (figure.metric.clone(), figure.value.into()))
        .collect()
}

/// The receipt's figures: one object a model, and the verdict.
fn results(report: &Report, device: Value) -> Value {
    let models = report.models.iter().map(|model| {
        let figures = json!({
            "nll": model.nll,
            "perplexity": model.perplexity,
            "token_accuracy": model.token_accuracy.rate,
            "exact_match": model.exact_match.as_ref().map(|m| m.rate),
            "metrics": metrics(model),
        });
        (model.name.clone(), figures)
    });
    let better = report
        .comparisons
        .iter()
        .map(|c| json!({"first": c.first, "second": c.second, "better": c.better}));
    json!({
        "device": device,
        "passed": report.passed,
        "rows": report.rows,
        "models": models.collect::<Map<_, _>>(),
        "comparisons": better.collect::<Vec<_>>(),
    })
}
